# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Request
from flexnpu.forecast.load import Load
from flexnpu.planner import DuetServe, Snapshot, Split, Targets

TARGETS = Targets(ttft=1.0, itl=0.05)
prompts = st.lists(st.builds(Request, st.integers(2, 4096), st.integers(0, 8192), st.just(1)), max_size=4)
running = st.lists(st.builds(Request, st.just(1), st.integers(1, 16384), st.integers(1, 64)), max_size=6)


def snapshot(prefill, decode, **rest):
    return Snapshot(24, rest.pop("targets", TARGETS), tuple(prefill), tuple(decode), **rest)


def test_phases_run_mixed_while_the_iteration_keeps_the_target(forecaster):
    plan = DuetServe().plan(snapshot([Request(256)], [Request(1, 2048, 8)]), forecaster)
    assert (plan.mode, plan.split, plan.meets_itl) == ("aggregated", (24, 24), True)


def test_phases_are_split_when_mixed_they_would_miss_the_target(forecaster):
    plan = DuetServe().plan(snapshot([Request(2048)], [Request(1, 2048, 8)]), forecaster)
    assert plan.mode == "split"
    assert plan.chosen.decode_seconds <= 0.05
    assert "over the ITL target of 50.0 ms" in plan.reason


@pytest.mark.parametrize(("prefill", "decode"), [([Request(8192)], []), ([], [Request(1, 4096, 64)]), ([], [])])
def test_one_phase_alone_gets_the_whole_device(forecaster, prefill, decode):
    assert DuetServe().plan(snapshot(prefill, decode), forecaster).split == (24, 24)


def test_no_other_split_and_k_has_a_better_token_rate(forecaster):
    state = snapshot([Request(4096)], [Request(1, 2048, 24)])
    plan = DuetServe().plan(state, forecaster)
    prefill, decode = forecaster.alone(state.prefill), forecaster.alone(state.decode)
    best = max(
        (k * 24 + 4096) / max(k * decode[cores], prefill[24 - cores])
        for cores in range(1, 24, 2)
        for k in range(1, 200)
        if decode[cores] <= 0.05
    )
    assert plan.chosen.tokens_per_second == pytest.approx(best)
    assert (plan.k * 24 + 4096) / max(plan.k * decode[plan.decode_cores], prefill[plan.prefill_cores]) == pytest.approx(
        best
    )


def test_a_target_that_no_split_keeps_is_said_and_served_as_well_as_can_be(forecaster):
    state = snapshot([Request(2048)], [Request(1, 8192, 512)])
    plan = DuetServe().plan(state, forecaster)
    assert not plan.meets_itl
    assert "no split keeps the ITL target of 50.0 ms" in plan.reason
    assert plan.chosen.decode_seconds == min(a.decode_seconds for a in (plan.chosen, *plan.alternatives[1:]))


def test_a_plan_carries_what_it_was_weighed_against(forecaster):
    plan = DuetServe().plan(snapshot([Request(2048)], [Request(1, 2048, 8)]), forecaster)
    assert {a.mode for a in plan.alternatives} == {"aggregated", "split"}
    feasible = [a for a in plan.alternatives if a.mode == "split" and a.decode_seconds <= 0.05]
    assert feasible
    assert all(a.tokens_per_second <= plan.chosen.tokens_per_second for a in feasible)


@settings(deadline=None)
@given(prefill=prompts, decode=running, least=st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_no_plan_exceeds_the_device_or_goes_below_a_minimum(forecaster, prefill, decode, least):
    state = snapshot(prefill, decode, minima=Split(*least))
    plan = DuetServe().plan(state, forecaster)
    assert plan.cores_used == 24
    assert all(cores >= minimum for cores, minimum in zip(plan.split, least, strict=True))
    assert DuetServe().plan(state, forecaster) == plan


class LineForecaster:
    """Rates proportional to cores, as papers draw them: 1 core-second per prompt, 0.1 per decode iteration."""

    def load(self, requests):
        return Load.of(requests)

    def seconds(self, cores, load):
        return self.alone(load)[cores]

    def alone(self, load):
        work = load.prefill_sequences + 0.1 * load.decode_sequences
        return np.array([np.inf, *(work / cores for cores in range(1, 11))])


def test_k_evens_out_the_two_phases():
    state = Snapshot(10, Targets(1.0, 0.026), (Request(100),), (Request(1, 50),))
    plan = DuetServe().plan(state, LineForecaster())
    # Decode needs 4 cores for 26 ms and tries 1, 3, 5, ...: 5 give 20 ms, prefill takes 200 ms on the other 5.
    assert (plan.split, plan.k) == ((5, 5), 10)
