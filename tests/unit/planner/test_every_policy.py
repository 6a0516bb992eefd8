# SPDX-License-Identifier: Apache-2.0
"""What every policy promises, whatever it is asked."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Request
from flexnpu.forecast.batch import Batch
from flexnpu.forecast.load import Load
from flexnpu.planner import POLICIES, Feedback, Snapshot, Split, Targets
from flexnpu.planner.chunks import chunk, ordered

CORES = 24
EVERY = pytest.mark.parametrize("name", POLICIES)
prompts = st.lists(st.builds(Request, st.integers(1, 16384), st.integers(0, 8192), st.integers(1, 3)), max_size=10)
running = st.lists(st.builds(Request, st.just(1), st.integers(0, 16384), st.integers(1, 64)), max_size=4)
splits = st.integers(1, CORES - 1).map(lambda decode: Split(CORES - decode, decode))


@st.composite
def snapshots(draw, prefill=prompts, decode=running):
    minima = Split(draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    graphs = draw(st.sampled_from([(), (), (8, 12), (2, 4, 6, 8, 10, 12, 14, 16)]))
    first, second = draw(prefill), draw(decode)
    count = int(sum(request.copies for request in second))
    mode = draw(st.sampled_from([None, "aggregated", "split", "shared"]))
    current = draw(splits) if mode == "split" else Split(CORES, CORES) if mode else None
    return Snapshot(
        device_cores=CORES,
        targets=Targets(draw(st.floats(0.05, 4.0)), draw(st.floats(0.01, 0.2)), draw(st.booleans())),
        prefill=tuple(first),
        decode=tuple(second),
        waits=draw(st.none() | st.lists(st.floats(0, 5), min_size=len(first), max_size=len(first))),
        credits=draw(st.none() | st.lists(st.floats(-0.3, 0.5), min_size=count, max_size=count)),
        feedback=draw(st.none() | st.builds(Feedback, st.none() | st.floats(0, 4), st.none() | st.floats(0, 0.3))),
        current=current,
        current_mode=mode,
        current_weight=draw(st.none() | st.floats(0.01, 0.99)) if mode == "shared" else None,
        minima=minima,
        graphs=tuple(each for each in graphs if minima.decode <= each <= CORES - minima.prefill),
        budget=max(draw(st.sampled_from([64, 512, 2048, 8192])), count + 64),
        kv_free=draw(st.floats(0, 1e6)),
        overhead=draw(st.floats(0, 0.005)),
        switch_seconds=draw(st.floats(0, 0.1)),
    )


def taken(plan, state):
    """What the plan has the next iteration run of the prompts."""
    left = plan.budget - state.running if plan.mode == "aggregated" else plan.budget
    return chunk(state, left, plan.order)


@EVERY
@settings(deadline=None, max_examples=60)
@given(state=snapshots())
def test_no_plan_is_over_the_device_or_under_a_minimum(forecaster, name, state):
    plan = POLICIES[name]().plan(state, forecaster)
    assert 1 <= plan.cores_used <= CORES
    assert min(plan.split) >= 1
    if plan.mode == "split":
        assert all(cores >= least for cores, least in zip(plan.split, state.minima, strict=True))
        assert plan.decode_cores in state.decode_cores
    else:
        assert plan.split == (CORES, CORES)
    assert 0 < plan.weight < 1


@EVERY
@settings(deadline=None, max_examples=60)
@given(state=snapshots())
def test_no_plan_is_over_the_budget(forecaster, name, state):
    plan = POLICIES[name]().plan(state, forecaster)
    assert plan.budget <= state.budget
    tokens = sum(new * copies for new, _, copies in taken(plan, state))
    decoding = state.running if plan.mode == "aggregated" else 0
    assert tokens + decoding <= state.budget


@EVERY
@settings(deadline=None, max_examples=60)
@given(state=snapshots(), free=st.floats(0, 2000))
def test_steps_run_ahead_have_room_for_their_keys_and_values(forecaster, name, state, free):
    state = replace(state, kv_free=free)
    plan = POLICIES[name]().plan(state, forecaster)
    # One step is the engine's to make room for, by preempting; what is run ahead has to find it.
    assert plan.steps <= 1 or plan.steps * state.running <= free


@EVERY
@settings(deadline=None, max_examples=60)
@given(state=snapshots())
def test_nobody_is_forgotten_and_nobody_is_named_twice(forecaster, name, state):
    plan = POLICIES[name]().plan(state, forecaster)
    order = plan.order or ()
    assert len(set(order)) == len(order)
    assert all(0 <= place < len(state.prefill) for place in order)
    assert sorted(ordered(state, plan.order)) == sorted(state.prefill)


@EVERY
@settings(deadline=None, max_examples=60)
@given(state=snapshots())
def test_the_same_state_has_the_same_plan_in_lists_and_in_columns(forecaster, name, state):
    policy = POLICIES[name]()
    plan = policy.plan(state, forecaster)
    assert policy.plan(replace(state), forecaster) == plan
    assert POLICIES[name]().plan(state, forecaster).reason == plan.reason
    columns = replace(
        state,
        prefill=Batch.of(state.prefill),
        decode=Load.of(state.decode) if state.decode else (),
        waits=None if state.waits is None else np.array(state.waits),
        credits=None if state.credits is None else np.array(state.credits),
    )
    again = policy.plan(columns, forecaster)
    assert (again.mode, again.split, again.steps, again.order) == (plan.mode, plan.split, plan.steps, plan.order)
    assert abs(again.budget - plan.budget) <= 1  # sums are added up in another order
    assert again.weight == pytest.approx(plan.weight)


@EVERY
@settings(deadline=None, max_examples=60)
@given(state=snapshots())
def test_both_phases_go_on_where_both_have_work(forecaster, name, state):
    if not state.prefill:
        return
    state = replace(state, kv_free=float("inf"))
    plan = POLICIES[name]().plan(state, forecaster)
    if plan.mode == "aggregated":
        # Decode is in every mixed iteration; prompts get a token at least where the budget leaves one.
        assert plan.budget > state.running or not state.decode
    else:
        assert plan.budget >= 1
    assert taken(plan, state)
    if plan.mode == "split" and state.decode and plan.steps:
        # While the prompts run, decode does not wait for much longer than its own steps take.
        assert plan.chosen.prefill_seconds <= 2.0 * plan.steps * plan.chosen.decode_seconds + 1e-9


@EVERY
def test_an_empty_state_asks_for_nothing(forecaster, name):
    state = Snapshot(CORES, Targets(2.0, 0.1))
    plan = POLICIES[name]().plan(state, forecaster)
    assert taken(plan, state) == []
    assert plan.order in (None, ())
    assert plan.cores_used <= CORES
    assert plan.chosen.tokens_per_second == 0.0
    assert plan.meets_itl


@EVERY
@settings(deadline=None, max_examples=40)
@given(state=snapshots())
def test_every_plan_says_why_and_what_it_was_weighed_against(forecaster, name, state):
    plan = POLICIES[name]().plan(state, forecaster)
    assert plan.reason
    assert plan.chosen.split == plan.split
    for each in (plan.chosen, *plan.alternatives):
        assert each.verdict
        assert each.prefill_seconds >= 0
        assert each.decode_seconds >= 0


@settings(deadline=None, max_examples=60)
@given(state=snapshots(), longer=st.floats(1.0, 3.0))
def test_a_looser_itl_target_never_shortens_flexnpus_mixed_iteration(forecaster, state, longer):
    """By more than what the search stops short of the limit."""
    state = replace(state, credits=None, graphs=(), waits=None)
    looser = replace(state, targets=replace(state.targets, itl=state.targets.itl * longer))
    policy = POLICIES["flexnpu"](part=9.0)
    before, after = (policy.plan(each, forecaster) for each in (state, looser))
    if before.order is None and after.order is None:
        assert after.budget - state.running >= 0.97 * (before.budget - state.running) - 17


@settings(deadline=None, max_examples=60)
@given(state=snapshots(), waits=st.tuples(st.floats(0, 5), st.floats(0, 5)))
def test_the_longer_prompts_wait_the_less_weights_gives_decode(forecaster, state, waits):
    short, long = sorted(waits)
    weights = [
        POLICIES["weights"]().plan(replace(state, waits=[each] * len(state.prefill)), forecaster).weight
        for each in (short, long)
    ]
    assert weights[1] <= weights[0]


@settings(deadline=None, max_examples=60)
@given(state=snapshots(), more=running)
def test_more_running_requests_never_get_fewer_cores_by_pdmux(forecaster, state, more):
    bigger = replace(state, decode=(*state.decode, *more), credits=None, budget=8192)
    before, after = (POLICIES["pdmux"]().plan(each, forecaster) for each in (state, bigger))
    if before.mode == after.mode == "split":
        assert after.decode_cores >= before.decode_cores


@settings(deadline=None, max_examples=40)
@given(state=snapshots(), wobble=st.lists(st.integers(-1, 1), min_size=8, max_size=8))
def test_a_batch_that_wavers_by_one_does_not_make_flexnpu_leave_parted_cores_and_come_back(forecaster, state, wobble):
    """By the band: what put it on parted cores is more than what keeps it there."""
    base = replace(state, decode=(Request(1, 2048, 64),), credits=None, graphs=(), prefill=(Request(4096),) * 32)
    base = replace(base, waits=None, targets=Targets(1.0, 0.05), minima=Split(1, 1), budget=8192, overhead=0.0)
    seen, mode, current = [], None, None
    for each in wobble:
        now = replace(base, decode=(Request(1, 2048, 64 + each),), current_mode=mode, current=current)
        plan = POLICIES["flexnpu"]().plan(now, forecaster)
        mode, current = plan.mode, plan.split
        seen.append(mode)
    assert sum(one != two for one, two in pairwise(seen)) <= 1
