# SPDX-License-Identifier: Apache-2.0
"""Quick ways against plain searches that do the same, on small states drawn with hypothesis."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flexnpu._native import Queue, reach, sums
from flexnpu.forecast import Request
from flexnpu.forecast.batch import Batch
from flexnpu.forecast.load import Load
from flexnpu.planner import DuetServe, Goodput, Instances, Snapshot, Split, Targets
from flexnpu.planner.chunks import chunk, chunk_load
from flexnpu.planner.queue import Now
from flexnpu.planner.rounds import Bounds, best_round

prompts = st.lists(st.builds(Request, st.integers(1, 4096), st.integers(0, 8192), st.integers(1, 3)), max_size=6)
running = st.lists(st.builds(Request, st.just(1), st.integers(0, 16384), st.integers(1, 64)), max_size=6)
long = st.lists(st.builds(Request, st.integers(4096, 16384), st.integers(0, 8192), st.just(1)), min_size=1, max_size=6)
itls = st.floats(0.01, 0.2)


def snapshot(prefill, decode, itl, **rest):
    return Snapshot(24, Targets(1.0, itl), tuple(prefill), tuple(decode), **rest)


@settings(deadline=None, max_examples=60)
@given(prompts, running, itls, st.integers(64, 8192))
def test_duetserve_finds_what_trying_every_split_and_k_finds(forecaster, prefill, decode, itl, budget):
    state = snapshot(prefill, decode, itl, budget=budget)
    plan = DuetServe().plan(state, forecaster)
    taken = chunk(state, budget - state.running)
    mixed = forecaster.alone([*decode, *taken])[24]
    if not decode or not taken or mixed <= itl:
        assert plan.mode == "aggregated"
        return
    first, second = forecaster.alone(taken), forecaster.alone(decode)
    tokens = sum(new * copies for new, _, copies in taken)
    tried = [cores for cores in range(1, 24, 2) if second[cores] <= itl]
    if not tried:
        assert second[plan.decode_cores] == min(second[1:24:2])
        return
    best = max(
        (k * state.running + tokens) / max(k * second[cores], first[24 - cores])
        for cores in tried
        for k in range(1, int(first[24 - cores] / second[cores]) + 3)
    )
    assert plan.chosen.tokens_per_second == pytest.approx(best)
    assert second[plan.decode_cores] <= itl


@settings(deadline=None, max_examples=60)
@given(prompts, running, itls, st.tuples(st.integers(1, 8), st.sampled_from([(), (4, 8, 12, 16)])))
def test_instances_takes_the_first_core_count_that_holds(forecaster, prefill, decode, itl, rules):
    least, graphs = rules
    state = snapshot(prefill, decode, itl, minima=Split(least, least), graphs=graphs)
    plan = Instances().plan(state, forecaster)
    if not prefill or not decode:
        return
    _, seconds = forecaster.split(prefill, decode)
    allowed = [cores for cores in range(least, 24 - least + 1) if not graphs or cores in graphs]
    assert plan.decode_cores == next((cores for cores in allowed if seconds[cores] <= itl * 0.9), allowed[-1])


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30)), max_size=8))
def test_no_choice_of_prompts_has_more_on_time(jobs):
    work, slack = (np.array(column, dtype=float) for column in (zip(*jobs, strict=True) if jobs else ((), ())))
    order, late, _ = queue_of(work, slack).order(1.0, 0.0, 64)
    kept = order[: len(jobs) - late]
    assert sorted(order) == list(range(len(jobs)))
    assert on_time([jobs[place] for place in kept])
    most = next(
        count
        for count in range(len(jobs), -1, -1)
        if any(on_time(some) for some in itertools.combinations(jobs, count))
    )
    assert len(kept) == most


def queue_of(work, slack, copies=None):
    """Prompts that take a second per token."""
    ones = np.ones(len(work)) if copies is None else copies
    return Queue(work, np.zeros(len(work)), ones, -slack, 0.0, (1.0, 0.0))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30), st.integers(1, 3)), min_size=1, max_size=8))
def test_a_queue_is_on_time_when_everybody_in_turn_is(jobs):
    work, slack, copies = (np.array(column, dtype=float) for column in zip(*jobs, strict=True))
    queue = queue_of(work, slack, copies)
    each = np.repeat(work, copies.astype(int)).cumsum()
    assert queue.on_time(0.5, 1.0) == bool((each <= 0.5 * (np.repeat(slack, copies.astype(int)) - 1.0)).all())
    assert queue.work() == each[-1]


def test_all_that_an_entry_stands_for_runs_one_after_the_other():
    work, slack, copies = np.array([4.0, 1.0]), np.array([6.0, 9.0]), np.array([3.0, 1.0])
    order, late, line = queue_of(work, slack, copies).order(1.0, 0.0, 64)
    assert (order, late) == ((0, 1), 2)
    assert line.take(12) == (Load.prefill(4.0).plus(Load.prefill(4.0)).plus(Load.prefill(4.0)), 12)


def test_columns_of_another_kind_are_refused():
    ones, two = np.ones(2), np.ones(3)
    with pytest.raises(ValueError, match="one length"):
        Queue(ones, ones, ones, two, 1.0, (1.0, 0.0))
    with pytest.raises(ValueError, match="one length"):
        reach(ones, two, 1.0)
    with pytest.raises(ValueError, match="one length"):
        sums(ones, ones, two, None)
    with pytest.raises(TypeError, match="float64"):
        Queue(ones, ones, ones, np.arange(2), 1.0, (1.0, 0.0))


def on_time(jobs):
    """By deadline, one after the other: nobody does better in another order."""
    total = 0
    for work, slack in sorted(jobs, key=lambda job: job[1]):
        total += work
        if total > slack:
            return False
    return True


@settings(deadline=None, max_examples=100)
@given(prompts, st.integers(-2, 9000), st.booleans())
def test_columns_are_chunked_as_lists_are(forecaster, prefill, tokens, as_columns):
    prefill = [request._replace(copies=1) for request in prefill] if as_columns else prefill
    state = Snapshot(24, Targets(1.0, 0.05), Batch.of(prefill) if as_columns else tuple(prefill))
    load = chunk_load(state, forecaster, tokens)
    assert load == pytest.approx(Load.of(Batch.of(chunk(Snapshot(24, Targets(1.0, 0.05), tuple(prefill)), tokens))))
    assert load.tokens <= max(tokens, 0)


@given(st.one_of(running, prompts, st.tuples(running, prompts).map(lambda both: [*both[0], *both[1]])))
def test_requests_are_summed_the_same_in_a_list_as_in_columns(requests):
    assert Load.of(requests) == Load.of(Batch.of(requests))
    ones = [request._replace(copies=1) for request in requests]
    assert Load.of(ones) == Load.of(Batch.of(ones))
    many = ones * (1 + 64 // max(len(ones), 1))  # more than are added up one by one
    assert Load.of(many) == Load.of(Batch.of(many))
    assert Batch.of(ones).new.tolist() == [request.new for request in ones]


@settings(deadline=None, max_examples=100)
@given(prompts, st.lists(st.integers(1, 20000), min_size=1, max_size=4))
def test_a_line_brings_what_taking_prompt_after_prompt_brings(forecaster, prefill, wanted):
    line = Now.of(snapshot(prefill, [], 0.05), forecaster).queue.line()
    each = [request for request in prefill for _ in range(request.copies)]
    for tokens in wanted:
        taken, whole, left = Load(), 0, tokens
        for request in each:
            new = min(request.new, left)
            whole += new == request.new
            taken = taken.plus(Load.prefill(new, request.cached, logits=0.0)) if new else taken
            left -= new
        load, took = line.take(tokens)
        assert took == tokens - left
        assert load == pytest.approx(taken._replace(logits=float(whole)))


@settings(deadline=None, max_examples=60)
@given(prompts.filter(bool), running, itls)
# One of several alike prompts is late, and an engine runs them together.
@example([Request(2697, 1461, 2), Request(1, 0, 1), Request(398, 0, 3), Request(2199, 6894, 3)], [], 0.125)
@example([Request(87, 0, 2)], [Request(1, 4), Request(1, 801, 103), Request(1, 9800, 168)], 0.1252)
def test_flexnpus_budget_is_near_the_most_that_fits(forecaster, prefill, decode, itl):
    state = snapshot(prefill, decode, itl)
    plan = Goodput(part=9.0).plan(state, forecaster)
    limit = itl * 0.9 if decode else 0.25
    waiting = sum(new * copies for new, _, copies in prefill)

    def fits(tokens):
        load = Load.of([*decode, *chunk(state, tokens, plan.order)])
        return forecaster.seconds(24, load) <= limit

    most = min(waiting, 8192 - int(state.running))
    if not fits(min(Goodput().floor, most)):
        assert plan.budget - state.running <= Goodput().floor
        return
    low, high = 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    # The search goes along lines; a first prompt is a step up from decode alone, and a second one from the first.
    assert 0.93 * low - 26 <= plan.budget - state.running <= max(low * 1.001 + 1, Goodput().floor)


@settings(deadline=None, max_examples=100)
@given(long, running.filter(bool), st.floats(0.6, 0.95))
# Beside the part of the prompts that is run no split keeps the pace, beside all of them one does.
@example([Request(4096, 6, 1)], [Request(1, 15511, 19)], 0.9296875)
def test_parted_cores_are_near_the_best_of_all_that_keep_the_pace(forecaster, prefill, decode, part):
    itl = float(forecaster.alone(decode)[24]) / part
    state = snapshot(prefill, decode, itl)
    now = Now.of(state, forecaster)
    line = now.queue.line()
    found = best_round(now, state, line, Bounds(itl, 0.1, 0.0))
    tokens = found.tokens if found else 512
    load, _ = line.take(tokens)
    rates = {}
    for cores in range(1, 24):
        first, second = forecaster.beside(24 - cores, load, cores, now.decode)
        if second <= itl:
            rates[cores] = now.worth(load) / max(first, second)
    if found is None:
        assert len(rates) <= 2  # it gives up where hardly any split does
        return
    assert found.decode_seconds <= itl
    assert found.prefill_seconds / found.steps <= itl
    assert found.rate >= 0.8 * max(rates.values(), default=0.0)
