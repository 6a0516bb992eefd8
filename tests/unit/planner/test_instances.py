# SPDX-License-Identifier: Apache-2.0
import time
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Request
from flexnpu.planner import Instances, Snapshot, SnapshotError, Split, Targets

TARGETS = Targets(ttft=1.0, itl=0.05)
BUSY = Snapshot(24, TARGETS, (Request(2048),), (Request(1, 2100, 8),), minima=Split(2, 2))
prompts = st.lists(st.builds(Request, st.integers(2, 8192), st.integers(0, 8192), st.integers(1, 50)), max_size=4)
running = st.lists(st.builds(Request, st.just(1), st.integers(1, 16384), st.integers(1, 64)), max_size=6)
splits = st.builds(lambda decode: Split(24 - decode, decode), st.integers(1, 23))
snapshots = st.builds(
    Snapshot,
    device_cores=st.just(24),
    targets=st.builds(Targets, st.just(1.0), st.floats(0.01, 0.3)),
    prefill=prompts.map(tuple),
    decode=running.map(tuple),
    current=st.none() | splits,
    minima=st.builds(Split, st.integers(1, 12), st.integers(1, 12)),
    idle_reserve=st.integers(0, 24),
    switch_seconds=st.floats(0, 0.5),
)


@settings(deadline=None)
@given(state=snapshots)
def test_no_plan_exceeds_the_device_or_goes_below_a_minimum(forecaster, state):
    plan = Instances().plan(state, forecaster)
    assert sum(plan.split) == plan.cores_used == 24
    assert all(cores >= least for cores, least in zip(plan.split, state.minima, strict=True))


@settings(deadline=None)
@given(state=snapshots)
def test_the_same_snapshot_gives_the_same_plan(forecaster, state):
    assert Instances().plan(state, forecaster) == Instances().plan(replace(state), forecaster)


@settings(deadline=None, max_examples=300)
@given(state=snapshots, more=running)
def test_a_bigger_decode_batch_never_gets_fewer_cores(forecaster, state, more):
    bigger = replace(state, decode=(*state.decode, *more))
    before, after = (Instances().plan(each, forecaster).decode_cores for each in (state, bigger))
    assert after >= before


@settings(deadline=None)
@given(state=snapshots)
def test_a_plan_is_settled_after_one_move(forecaster, state):
    first = Instances().plan(state, forecaster)
    assert Instances().plan(replace(state, current=first.split), forecaster).split == first.split


def test_decode_gets_the_fewest_cores_that_hold_the_target(forecaster):
    plan = Instances().plan(BUSY, forecaster)
    _, decode = forecaster.split(BUSY.prefill, BUSY.decode)
    assert decode[plan.decode_cores] <= 0.045 < decode[plan.decode_cores - 1]
    assert plan.prefill_cores == 24 - plan.decode_cores
    assert plan.meets_itl


def test_an_idle_prefill_leaves_all_but_its_minimum(forecaster):
    assert Instances().plan(replace(BUSY, prefill=()), forecaster).split == (2, 22)


def test_an_idle_prefill_keeps_its_reserve_for_the_next_prompt(forecaster):
    assert Instances().plan(replace(BUSY, prefill=(), idle_reserve=12), forecaster).split == (12, 12)


def test_the_reserve_gives_way_where_decode_needs_the_cores(forecaster):
    state = replace(BUSY, prefill=(), idle_reserve=20, targets=Targets(1.0, 0.02))
    assert Instances().plan(state, forecaster).decode_cores > 4


@pytest.mark.parametrize("prefill", [(), (Request(2048),)])
def test_an_idle_decode_leaves_all_but_its_minimum(forecaster, prefill):
    assert Instances().plan(replace(BUSY, prefill=prefill, decode=()), forecaster).split == (22, 2)


def test_a_target_out_of_reach_is_said_and_decode_gets_all_it_may_have(forecaster):
    plan = Instances().plan(replace(BUSY, decode=(Request(1, 8192, 256),)), forecaster)
    assert (plan.split, plan.meets_itl) == ((2, 22), False)
    assert "cannot be held" in plan.reason


def test_a_queue_that_misses_its_ttft_target_is_said(forecaster):
    assert "TTFT" not in Instances().plan(BUSY, forecaster).reason
    long = replace(BUSY, prefill=(Request(2048, 0, 20),))
    assert "over the TTFT target of 1000.0 ms" in Instances().plan(long, forecaster).reason


def test_decode_grows_at_once_when_it_would_miss_the_target(forecaster):
    state = replace(BUSY, current=Split(21, 3), switch_seconds=10.0)
    assert Instances().plan(state, forecaster).decode_cores == Instances().plan(BUSY, forecaster).decode_cores


def test_cores_come_back_only_when_the_gain_is_over_the_cost(forecaster):
    wide = replace(BUSY, current=Split(12, 12))
    assert Instances().plan(wide, forecaster).prefill_cores > 12
    costly = Instances().plan(replace(wide, switch_seconds=1.0), forecaster)
    assert costly.split == (12, 12)
    assert "would save prefill" in costly.reason


def test_a_batch_that_wavers_does_not_make_the_split_flap(forecaster):
    current, seen = None, []
    for count in [8, 9, 8, 10, 9, 8, 9, 10] * 5:
        state = replace(BUSY, decode=(Request(1, 2100, count),), current=current)
        current = Instances().plan(state, forecaster).split
        seen.append(current)
    assert len(set(seen[1:])) == 1


def test_contention_with_prefill_is_paid_for_in_cores(forecaster):
    # A chunk of a few tokens streams weights as decode does.
    hungry = replace(BUSY, prefill=(Request(16),), targets=Targets(1.0, 0.03))
    _, beside = forecaster.split(hungry.prefill, hungry.decode)
    alone = forecaster.alone(hungry.decode)
    cores = Instances().plan(hungry, forecaster).decode_cores
    assert beside[cores] > alone[cores]
    assert beside[cores] <= 0.027


def test_every_alternative_carries_its_forecast_and_verdict(forecaster):
    plan = Instances().plan(BUSY, forecaster)
    assert sorted(a.split.decode for a in (plan.chosen, *plan.alternatives)) == list(range(2, 23))
    for other in plan.alternatives:
        holds = other.decode_seconds <= 0.045
        assert other.verdict == ("holds the ITL target" if holds else "misses the ITL target")


@settings(deadline=None)
@given(state=snapshots)
def test_the_verdict_is_the_forecasts(forecaster, state):
    assume(state.decode)
    plan = Instances().plan(state, forecaster)
    if plan.meets_itl:
        assert plan.chosen.decode_seconds <= state.targets.itl * state.margin


@pytest.mark.parametrize("least", [Split(0, 4), Split(13, 12)])
def test_minima_that_cannot_be_kept_are_refused(least):
    with pytest.raises(SnapshotError, match="at most the device's 24"):
        replace(BUSY, minima=least)


@pytest.mark.parametrize("itl", [0, -1, float("nan"), float("inf")])
def test_a_target_that_is_no_time_is_refused(itl):
    with pytest.raises(SnapshotError, match="ITL target is"):
        Targets(1.0, itl)


def test_a_plan_takes_well_under_a_millisecond(forecaster):
    state = replace(BUSY, current=Split(12, 12))
    best = float("inf")
    for _ in range(100):
        start = time.perf_counter()
        Instances().plan(state, forecaster)
        best = min(best, time.perf_counter() - start)
    assert best < 2e-3  # a third of a millisecond when the machine is idle
