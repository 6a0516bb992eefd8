# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Request
from flexnpu.planner import Goodput, Snapshot, Targets

TARGETS = Targets(ttft=2.0, itl=0.05)
prompts = st.lists(st.builds(Request, st.integers(1, 16384), st.integers(0, 8192), st.just(1)), min_size=1, max_size=12)
running = st.lists(st.builds(Request, st.just(1), st.integers(1, 16384), st.integers(1, 16)), max_size=6)


def snapshot(prefill, decode=(), **rest):
    return Snapshot(24, rest.pop("targets", TARGETS), tuple(prefill), tuple(decode), **rest)


def seconds_of(plan, state, forecaster):
    """Of the iteration that the plan asks for, built without the policy's help."""
    order = list(plan.order or ()) + [place for place in range(len(state.prefill)) if place not in (plan.order or ())]
    left = plan.budget - state.running
    taken = []
    for place in order:
        if left < 1:
            break
        new, cached, _ = state.prefill[place]
        taken.append(Request(min(new, int(left)), cached))
        left -= taken[-1].new
    return forecaster.seconds(24, forecaster.load([*state.decode, *taken]))


@given(prompts, running)
@settings(max_examples=60, deadline=None)
def test_an_iteration_keeps_the_target_or_takes_the_least_it_may(forecaster, prefill, decode):
    state = snapshot(prefill, decode)
    plan = Goodput().plan(state, forecaster)
    taken = plan.budget - state.running
    limit = 0.9 * TARGETS.itl if decode else 0.25 * TARGETS.ttft
    assert 1 <= taken <= max(state.budget - state.running, 1)
    if taken > Goodput().floor:
        assert seconds_of(plan, state, forecaster) <= limit * 1.01


@given(prompts, running)
@settings(max_examples=30, deadline=None)
def test_the_same_snapshot_has_the_same_plan(forecaster, prefill, decode):
    waits = np.linspace(3.0, 0.0, len(prefill))
    plans = [Goodput().plan(snapshot(prefill, decode, waits=waits), forecaster) for _ in range(2)]
    assert plans[0] == plans[1]
    assert plans[0].reason == plans[1].reason


def test_prompts_always_get_some_tokens_however_slow_decode_is(forecaster):
    plan = Goodput().plan(snapshot([Request(4096)], [Request(1, 16384, 256)]), forecaster)
    assert plan.budget - 256 == Goodput().floor
    assert not plan.meets_itl


def test_who_is_late_already_goes_behind_who_can_be_on_time(forecaster):
    state = snapshot([Request(4096), Request(4096)], [Request(1, 1024, 4)], waits=[5.0, 0.1])
    assert Goodput().plan(state, forecaster).order == (1, 0)


def test_in_time_prompts_keep_the_order_in_which_they_came(forecaster):
    assert Goodput().plan(snapshot([Request(512), Request(256)], waits=[0.1, 0.0]), forecaster).order is None


def test_the_prompt_that_makes_others_late_is_put_off(forecaster):
    # The first takes nearly the target by itself; behind it none of the others could be on time.
    whole = forecaster.seconds(24, forecaster.load([Request(16384)]))
    targets = Targets(ttft=whole * 1.1, itl=0.05)
    short = [Request(2048)] * 4
    order = Goodput().plan(snapshot([Request(16384), *short], targets=targets, waits=[0.0] * 5), forecaster).order
    assert order is not None
    assert order[-1] == 0


def test_running_requests_that_are_behind_shorten_the_iteration_and_saved_time_lengthens_it_under_pressure(forecaster):
    def budget(credit, waits):
        state = snapshot([Request(8192)] * 4, [Request(1, 1024, 8)], credits=[credit] * 8, waits=waits)
        return Goodput().plan(state, forecaster).budget

    assert budget(-0.02, [0.0] * 4) < budget(0.0, [0.0] * 4) < budget(0.05, [1.9] * 4)


@pytest.mark.parametrize("state", [snapshot([]), snapshot([], [Request(1, 4096, 8)])])
def test_without_prompts_decode_has_the_device(forecaster, state):
    plan = Goodput().plan(state, forecaster)
    assert plan.split == (24, 24)
    assert "no prompt waits" in plan.reason
