# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Forecaster, Request
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config
from flexnpu.planner import Rules, Snapshot, SnapshotError, Targets, Tenant, share_cores
from flexnpu.planner.tenants import curve

TARGETS = Targets(2.0, 0.05)
prompts = st.lists(st.builds(Request, st.integers(2, 8192), st.integers(0, 4096), st.integers(1, 8)), max_size=3)
running = st.lists(st.builds(Request, st.just(1), st.integers(1, 8192), st.integers(1, 64)), max_size=3)
work = st.lists(st.tuples(prompts, running), min_size=1, max_size=3)


def tenants_of(forecaster, states, least=2, **rest):
    return [
        Tenant(f"vnpu{place}", Snapshot(24, TARGETS, tuple(prefill), tuple(decode)), forecaster, least, **rest)
        for place, (prefill, decode) in enumerate(states)
    ]


@settings(deadline=None, max_examples=40)
@given(states=work, least=st.integers(0, 8), current=st.none() | st.tuples(*[st.integers(0, 12)] * 3))
def test_shares_keep_the_device_and_every_minimum(forecaster, states, least, current):
    tenants = tenants_of(forecaster, states, least)
    rules = Rules(None if current is None else current[: len(states)])
    shares = share_cores(24, tenants, rules)
    assert sum(shares.cores) <= 24
    assert all(cores >= least for cores in shares.cores)
    assert shares == share_cores(24, tenants, rules)


@settings(deadline=None, max_examples=15)
@given(states=st.lists(st.tuples(prompts, running), min_size=2, max_size=2))
def test_no_other_way_to_deal_the_cores_has_more_requests_in_time(forecaster, states):
    tenants = tenants_of(forecaster, states, least=3)
    shares = share_cores(24, tenants, Rules(fairness=0.0))
    slower = [curve(tenant, 24).seconds[c] for tenant, c in zip(tenants, shares.cores, strict=True)]
    assert all(seconds >= 0 for seconds in slower)
    alone = [curve(tenant, 24).in_time for tenant in tenants]
    most = max(
        sum(column[count] for column, count in zip(alone, way, strict=True))
        for way in itertools.product(range(3, 22), repeat=2)
        if sum(way) <= 24
    )
    assert sum(shares.in_time) <= most + 1e-9  # beside each other nobody is quicker than alone


def test_an_idle_vnpu_lends_all_but_its_guaranteed_cores(forecaster):
    busy = ([Request(4096)] * 8, [Request(1, 2048, 32)])
    shares = share_cores(24, tenants_of(forecaster, [busy, ([], [])], least=6))
    assert shares.cores == (18, 6)
    back = share_cores(24, tenants_of(forecaster, [([], []), busy], least=6), Rules(shares.cores))
    assert back.cores == (6, 18)


def test_spare_cores_go_where_more_requests_keep_their_target(forecaster):
    # 40 running need several cores for their target; three prompts have two seconds, and then what is left.
    few, many = ([Request(512)] * 3, []), ([], [Request(1, 4096, 40)])
    shares = share_cores(24, tenants_of(forecaster, [few, many], least=2))
    assert shares.in_time == (3.0, pytest.approx(40.0))
    assert shares.cores[1] > 2
    assert sum(shares.cores) == 24


def test_a_vnpu_never_gets_more_than_it_may_have(forecaster):
    busy = ([Request(4096)] * 8, [Request(1, 2048, 32)])
    assert share_cores(24, tenants_of(forecaster, [busy, busy], most=10)).cores == (10, 10)


def test_fairness_keeps_a_vnpu_with_few_requests_from_being_outvoted(forecaster):
    # Neither can be served in full: one has ten times the requests.
    states = [([], [Request(1, 8192, 100)]), ([], [Request(1, 8192, 10)])]
    greedy, fair = (share_cores(24, tenants_of(forecaster, states, 1), Rules(fairness=each)) for each in (0.0, 1.0))
    assert fair.cores[1] >= greedy.cores[1]
    assert fair.in_time[1] == pytest.approx(10.0)


def test_weight_decides_between_two_that_are_alike(forecaster):
    state = Snapshot(24, TARGETS, (), (Request(1, 8192, 60),))
    heavy, light = Tenant("a", state, forecaster, 1, weight=3.0), Tenant("b", state, forecaster, 1)
    cores = share_cores(24, [heavy, light]).cores
    assert cores[0] > cores[1]


def test_a_load_that_wavers_does_not_move_cores(forecaster):
    current, seen = None, []
    for count in [8, 9, 8, 10, 9, 8] * 4:
        states = [([Request(1024)] * 2, [Request(1, 2048, count)]), ([], [Request(1, 2048, 8)])]
        current = share_cores(24, tenants_of(forecaster, states), Rules(current, switch_seconds=0.5)).cores
        seen.append(current)
    assert len(set(seen)) == 1


def test_two_models_are_each_forecast_by_their_own(forecaster, b2):
    large = Forecaster(ModelShape.from_config(find_config("Qwen3-14B")[1]), b2)
    state = Snapshot(24, TARGETS, (), (Request(1, 2048, 32),))
    tenants = [Tenant("7b", state, forecaster, 2), Tenant("14b", state, large, 2)]
    cores = share_cores(24, tenants).cores
    assert cores[1] > cores[0]


def test_decode_graphs_are_used_at_the_cores_they_were_captured_at(forecaster):
    state = Snapshot(24, TARGETS, (), (Request(1, 2048, 32),), graphs=(8, 16))
    found = curve(Tenant("a", state, forecaster, 1), 24)
    assert found.in_time[15] == found.in_time[8]
    assert found.in_time[24] == found.in_time[16]


def test_guaranteed_cores_over_the_device_are_refused(forecaster):
    with pytest.raises(SnapshotError, match="over the device's 24"):
        share_cores(24, tenants_of(forecaster, [([], [])] * 3, least=9))


def test_nobody_on_the_device_gets_nothing():
    assert share_cores(24, []).cores == ()
