# SPDX-License-Identifier: Apache-2.0
"""What a controller counts for the daemon's metrics."""

from __future__ import annotations

import pytest
from controller_fakes import DECODE, PREFILL, World, pair

from flexnpu.controller import Loop, ScrapeError, Settings
from flexnpu.controller.decision import Applied, Decision, Grant, Outcome, ServicePlan
from flexnpu.controller.engines import ScrapedEngine
from flexnpu.controller.followed import FollowedEngine
from flexnpu.controller.metrics import parse_served
from flexnpu.controller.totals import Totals
from flexnpu.planner import Targets

TARGETS = Targets(ttft=0.5, itl=0.05)
OUTCOME = Outcome(
    decision=1,
    service="chat",
    held_seconds=1.0,
    turns=3,
    decode_forecast_seconds=0.02,
    decode_observed_seconds=0.023,
    decode_tokens=40,
    prefill_forecast_tokens_per_second=9000.0,
    prefill_observed_tokens_per_second=6000.0,
    decode_correction=1.1,
)


def page(first: tuple[int, ...] = (), gaps: tuple[int, ...] = ()) -> str:
    """Cumulative counts of times to the first token up to 0.25, 0.5, 1 and any seconds, of gaps up to 0.025, 0.05, 0.1
    and any."""
    lines = ["vllm:num_requests_running 1", "vllm:num_requests_waiting 0"]
    for name, bounds, counts in (
        ("vllm:time_to_first_token_seconds", ("0.25", "0.5", "1.0", "+Inf"), first),
        ("vllm:inter_token_latency_seconds", ("0.025", "0.05", "0.1", "+Inf"), gaps),
    ):
        lines += [f'{name}_bucket{{le="{bound}"}} {n}' for bound, n in zip(bounds, counts, strict=False)]
        lines += [f"{name}_sum 1.5"] * bool(counts)
    return "\n".join(lines) + "\n"


def decision(mode="planned", *, moved=True, applied=None, **phases) -> Decision:
    plan = ServicePlan("chat", mode, {}, phases, {}, "why", meets_itl=True)
    before, after = {"a": Grant(12)}, {"a": Grant(18 if moved else 12)}
    return Decision(1, 0.0, 0, mode, before, after, "why", (plan,), 1.0, 24, applied)


def told(totals: Totals, service):
    (chat,) = totals.told([service]).services
    return chat


@pytest.fixture
def service(qwen):
    return pair(qwen, targets=TARGETS)


def scraped(endpoint, role, text: str) -> ScrapedEngine:
    engine = ScrapedEngine(endpoint, role)
    engine.take(text, 0.0)
    return engine


def test_decisions_and_moves_are_counted_by_reason_and_result():
    totals = Totals()
    busy = {"prefill": "busy", "decode": "busy"}
    for each in (
        decision(**busy, applied=Applied(True, 0.01)),
        decision(**busy, applied=Applied(False, 0.5)),
        decision(**busy, moved=False),
        decision(prefill="idle", decode="busy"),
        decision(prefill="idle", decode="idle", applied=Applied(False, 0.0, error="no")),
        decision("safe", **busy, moved=False),
    ):
        totals.add(each)
    found = {
        each.reason: (each.decisions, {k: n for k, n in each.moves.items() if n}) for each in totals.told([]).decisions
    }
    assert found == {
        "both": (3, {"applied": 1, "late": 1}),
        "decode": (1, {"withheld": 1}),
        "idle": (1, {"refused": 1}),
        "safe": (1, {}),
    }


def test_an_outcome_is_an_error_of_each_phase_that_was_observed(service):
    totals = Totals()
    totals.add(OUTCOME)
    errors = told(totals, service).forecast_errors
    assert errors["decode"].sum == pytest.approx(0.15), "23 ms instead of 20"
    assert errors["prefill"].sum == pytest.approx(0.5), "a third fewer tokens per second is half as much time again"
    assert [sum(each.counts) for each in errors.values()] == [1, 1]


def test_tokens_in_time_come_from_the_engines_histograms(service):
    totals = Totals()
    engines = [
        scraped(PREFILL, "prefill", page((5, 5, 5, 5), (9, 9, 9, 9))),
        scraped(DECODE, "decode", page(gaps=(0, 0, 0, 0))),
    ]
    totals.look(service, engines, scale=1.0)
    assert told(totals, service).first_tokens == 0, "what was served before is not of this controller"
    engines[0].take(page((5, 13, 15, 15), (99, 99, 99, 99)), 1.0)
    engines[1].take(page((7, 7, 7, 7), (40, 90, 100, 100)), 1.0)
    for _ in range(2):
        totals.look(service, engines, scale=1.0)
    chat = told(totals, service)
    assert (chat.first_tokens, chat.first_tokens_in_time) == (10, 8)
    assert (chat.output_tokens, chat.output_tokens_in_time) == (100, 90), "each phase's engine counts its own alone"


def test_a_slower_clock_stretches_the_targets(service):
    totals, engine = Totals(), scraped(DECODE, "decode", page(gaps=(0, 0, 0, 0)))
    totals.look(service, [engine], scale=2.0)
    engine.take(page(gaps=(40, 90, 100, 100)), 1.0)
    totals.look(service, [engine], scale=2.0)
    assert told(totals, service).output_tokens_in_time == 100


def test_an_engine_that_was_started_anew_counts_from_zero(service):
    totals, engine = Totals(), scraped(DECODE, "decode", page(gaps=(50, 60, 60, 60)))
    totals.look(service, [engine], scale=1.0)
    engine.take(page(gaps=(1, 2, 3, 3)), 1.0)
    totals.look(service, [engine], scale=1.0)
    assert told(totals, service).output_tokens == 3


def test_a_page_without_histograms_tells_nothing(service):
    totals, engine = Totals(), scraped(DECODE, "decode", page())
    for _ in range(2):
        totals.look(service, [engine], scale=1.0)
    assert told(totals, service).output_tokens == 0


@pytest.mark.parametrize(
    "lines",
    [
        'vllm:inter_token_latency_seconds_bucket{le="0.1"} 3\n',
        'vllm:inter_token_latency_seconds_bucket{le="0.1"} 3\nvllm:inter_token_latency_seconds_bucket{le="+Inf"} 1\n',
        'vllm:inter_token_latency_seconds_bucket{le="x"} 3\n',
        'vllm:inter_token_latency_seconds_bucket{of="x"} 3\n',
    ],
)
def test_what_is_no_histogram_is_refused(lines: str):
    with pytest.raises(ScrapeError):
        parse_served(lines, 1.0)


def test_an_engine_that_is_followed_counts_its_steps(qwen):
    world = World()
    loop = Loop([pair(qwen, PREFILL._replace(url=None), DECODE._replace(url=None), TARGETS)], Settings(), world.seams())
    (unit,) = loop.devices[0].units
    totals = Totals()
    totals.look(unit.service, unit.engines, scale=1.0)
    for seconds in (0.02, 0.03, 0.02):
        world.begin("decode", requests=8, tokens=8, context=16_000)
        loop.step()
        world.sleep(seconds)
    assert isinstance(unit.engines[1], FollowedEngine)
    totals.look(unit.service, unit.engines, scale=1.0)
    assert told(totals, unit.service).output_tokens == 16, "two gaps of eight requests"
