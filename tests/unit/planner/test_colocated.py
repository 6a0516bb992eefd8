# SPDX-License-Identifier: Apache-2.0
"""Two engines on one device: all cores by turns, or parted ones."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Request
from flexnpu.planner import Colocated, Instances, Snapshot, SnapshotError, Split, Targets

WHOLE = Split(24, 24)
QUEUE = (Request(4096), Request(2048))
FEW = (Request(1, 2100, 8),)
MANY = (Request(1, 4096, 96),)
BUSY = Snapshot(24, Targets(ttft=2.0, itl=0.05), QUEUE, FEW, minima=Split(2, 2))
prompts = st.lists(st.builds(Request, st.integers(2, 8192), st.integers(0, 8192), st.integers(1, 8)), max_size=4)
running = st.lists(st.builds(Request, st.just(1), st.integers(1, 16384), st.integers(1, 64)), max_size=4)
modes = st.one_of(
    st.just((None, None, None)),
    st.floats(0.05, 0.95).map(lambda weight: ("shared", WHOLE, weight)),
    st.integers(1, 23).map(lambda decode: ("split", Split(24 - decode, decode), None)),
)


@st.composite
def snapshots(draw, prefill=prompts, decode=running):
    mode, current, weight = draw(modes)
    return Snapshot(
        device_cores=24,
        targets=Targets(draw(st.floats(0.1, 5.0)), draw(st.floats(0.01, 0.3))),
        prefill=tuple(draw(prefill)),
        decode=tuple(draw(decode)),
        current=current,
        current_mode=mode,
        current_weight=weight,
        minima=Split(draw(st.integers(1, 8)), draw(st.integers(1, 8))),
        overhead=draw(st.floats(0, 0.005)),
        switch_seconds=draw(st.floats(0, 0.1)),
    )


def in_force(state, plan):
    weight = plan.weight if plan.mode == "shared" else None
    return replace(state, current=plan.split, current_mode=plan.mode, current_weight=weight)


def sharing(state):
    return replace(state, current=WHOLE, current_mode="shared", switch_seconds=9.0)


def limit(state):
    return state.targets.itl * state.margin - state.overhead


@pytest.mark.parametrize("overhead", [0.001, 0.002, 0.004, 0.006])
@pytest.mark.parametrize("itl", [0.03, 0.04, 0.05])
def test_parted_cores_are_sought_under_what_the_host_leaves_of_the_target(forecaster, itl, overhead):
    state = replace(BUSY, targets=Targets(2.0, itl), overhead=overhead)
    plan = Colocated().plan(state, forecaster)
    [parted] = [each for each in (plan.chosen, *plan.alternatives) if each.mode == "split"]
    assert parted.decode_seconds <= limit(state)


def test_where_neither_is_in_force_the_one_that_runs_the_queue_sooner_is_chosen(forecaster):
    for decode in (FEW, MANY):
        plan = Colocated().plan(replace(BUSY, decode=decode), forecaster)
        (other,) = plan.alternatives
        assert {plan.mode, other.mode} == {"shared", "split"}
        assert plan.meets_itl
        assert plan.chosen.prefill_seconds <= other.prefill_seconds or "misses" in other.verdict


def test_by_hand(forecaster):
    """A step alone, an operator of the prefill, and what is left."""
    plan = Colocated(step=0.001).plan(sharing(BUSY), forecaster)
    step, queue = (float(forecaster.alone(each)[24]) for each in (FEW, QUEUE))
    wait = 0.02 * queue
    assert plan.mode == "shared"
    assert plan.weight == pytest.approx(step / (0.045 - wait), abs=0.001)
    assert plan.chosen.decode_seconds == pytest.approx(0.045, rel=0.02)
    assert plan.chosen.prefill_seconds == pytest.approx(queue / (1 - plan.weight))


def test_a_target_that_a_turn_could_not_keep_parts_the_cores_and_a_looser_one_joins_them(forecaster):
    seen = []
    for itl in (0.02, 0.03, 0.05, 0.1, 0.2, 0.4):
        plan = Colocated().plan(replace(BUSY, decode=MANY, targets=Targets(2.0, itl)), forecaster)
        seen.append((plan.mode, plan.meets_itl, plan.chosen.prefill_seconds))
    assert all(later[2] <= sooner[2] * 1.02 for sooner, later in pairwise(seen) if sooner[1])


@pytest.mark.parametrize(
    ("prefill", "decode", "said"),
    [
        ((), FEW, "prefill is idle: decode has all of the time on all 24 cores"),
        (QUEUE, (), "decode is idle: prefill has all of the time on all 24 cores"),
        ((), (), "both phases are idle"),
    ],
)
@pytest.mark.parametrize("weight", [None, 0.35])
def test_an_idle_phase_needs_no_move_and_no_reserve(forecaster, prefill, decode, said, weight):
    state = replace(BUSY, prefill=prefill, decode=decode, idle_reserve=12)
    if weight:
        state = replace(state, current=WHOLE, current_mode="shared", current_weight=weight)
    plan = Colocated().plan(state, forecaster)
    assert (plan.mode, plan.split) == ("shared", WHOLE)
    assert weight is None or plan.weight == weight
    assert plan.reason.startswith(said)
    assert not (prefill or decode) or "without a move" in plan.reason
    assert weight or decode or plan.weight == 0.5
    alone = [float(forecaster.alone(each)[24]) if each else 0.0 for each in (prefill, decode)]
    assert [plan.chosen.prefill_seconds, plan.chosen.decode_seconds] == pytest.approx(alone)


def test_parted_cores_stay_where_joining_them_would_save_less_than_it_costs(forecaster):
    state = replace(BUSY, prefill=(), current=Split(4, 20), current_mode="split", switch_seconds=0.05)
    plan = Colocated().plan(state, forecaster)
    assert (plan.mode, plan.split) == ("split", Split(4, 20))
    assert "and cost 50.0 ms" in plan.reason
    assert Colocated().plan(replace(state, switch_seconds=0.0), forecaster).mode == "shared"


def test_a_graph_of_fewer_cores_makes_the_turn_longer(forecaster):
    plain = Colocated().plan(sharing(BUSY), forecaster)
    assert Colocated().plan(sharing(replace(BUSY, graphs=(4, 8))), forecaster).weight > plain.weight


def test_where_nothing_keeps_the_target_decode_gets_what_comes_nearest_and_it_is_said(forecaster):
    plan = Colocated().plan(replace(BUSY, decode=MANY, targets=Targets(2.0, 0.005)), forecaster)
    assert not plan.meets_itl
    assert "neither keeps 4.5 ms (90% of the ITL target)" in plan.reason
    (other,) = plan.alternatives
    assert plan.chosen.decode_seconds <= other.decode_seconds


def test_who_misses_the_target_goes_to_who_keeps_it_be_it_without_the_band(forecaster):
    """Shared time that misses, while parted cores keep the target by less than the band."""
    for itl in (step / 4000 for step in range(60, 400)):
        state = replace(BUSY, decode=MANY, targets=Targets(2.0, itl))
        fresh = Colocated().plan(state, forecaster)
        plan = Colocated().plan(sharing(state), forecaster)
        kept = [each for each in (fresh.chosen, *fresh.alternatives) if "meets" in each.verdict]
        assert plan.meets_itl or not kept
        assert ("neither" in plan.reason) == (not plan.meets_itl)


def test_a_long_queue_is_said_to_be_late(forecaster):
    plan = Colocated().plan(replace(BUSY, prefill=(Request(65536),)), forecaster)
    assert "over the TTFT target of 2000.0 ms" in plan.reason


@pytest.mark.parametrize("setting", [{"operator": 1.5}, {"step": 0.0}, {"least": 0.6}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(SnapshotError, match="must be"):
        Colocated(**setting)


@settings(deadline=None, max_examples=150)
@given(state=snapshots())
def test_what_is_said_to_keep_the_target_keeps_it(forecaster, state):
    plan = Colocated().plan(state, forecaster)
    if plan.meets_itl and state.decode:
        assert plan.chosen.decode_seconds <= limit(state) + 1e-6
    if plan.mode == "shared" and state.prefill and state.decode and plan.meets_itl:
        alone = float(forecaster.alone(state.decode)[24])
        assert plan.chosen.decode_seconds >= alone / plan.weight - 1e-9


@settings(deadline=None, max_examples=150)
@given(state=snapshots())
def test_a_plan_is_settled_after_a_move_or_two(forecaster, state):
    first = Colocated().plan(state, forecaster)
    second = Colocated().plan(in_force(state, first), forecaster)
    third = Colocated().plan(in_force(state, second), forecaster)
    assert third.mode == second.mode == first.mode
    assert (third.split, third.weight) == (second.split, second.weight)


@settings(deadline=None, max_examples=100)
@given(state=snapshots(), more=running)
def test_a_bigger_decode_batch_never_gets_less_of_the_time(forecaster, state, more):
    state = replace(state, current=None, current_mode=None, current_weight=None)
    bigger = replace(state, decode=(*state.decode, *more))
    before, after = (Colocated().plan(each, forecaster) for each in (state, bigger))
    if before.mode == after.mode == "shared" and state.decode and state.prefill:
        assert after.weight >= before.weight


@settings(deadline=None, max_examples=100)
@given(state=snapshots())
def test_it_never_runs_the_queue_later_than_parted_cores_by_more_than_two_switches_take(forecaster, state):
    """Where both keep the target with the band to spare."""
    state = replace(state, current=WHOLE, current_mode="shared", current_weight=None)
    if not (state.prefill and state.decode):
        return
    plan = Colocated().plan(state, forecaster)
    tight = replace(state, margin=state.margin * (1 - state.band), current=None, current_mode=None)
    parted = Instances().plan(tight, forecaster)
    seconds = forecaster.beside(
        parted.split.prefill, forecaster.load(state.prefill), parted.split.decode, forecaster.load(state.decode)
    )
    if plan.meets_itl and float(seconds[1]) <= limit(tight):
        assert plan.chosen.prefill_seconds <= float(seconds[0]) + 2 * state.switch_seconds + 1e-9


@settings(deadline=None, max_examples=60)
@given(count=st.integers(4, 200), itl=st.floats(0.02, 0.2), wobble=st.lists(st.integers(-1, 1), min_size=8, max_size=8))
def test_a_batch_that_wavers_by_one_makes_it_move_once_at_most(forecaster, count, itl, wobble):
    state = replace(BUSY, targets=Targets(2.0, itl))
    seen = []
    for each in wobble:
        state = replace(state, decode=(Request(1, 2048, count + each),))
        plan = Colocated().plan(state, forecaster)
        state = in_force(state, plan)
        seen.append(plan.mode)
    assert sum(one != two for one, two in pairwise(seen)) <= 1
