# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_forecast import PlainForecast

from flexnpu.errors import InvalidValue
from flexnpu.planner import POLICIES, Targets
from flexnpu.simulator import Arrival, EngineConfig, Simulation, simulate

ONE_DEVICE = [name for name, make in POLICIES.items() if make().layout == "one device" and name != "instances"]
HOST = {"launch_seconds": 0.0, "dispatch_seconds": 0.0, "graph_seconds": 0.0, "switch_seconds": 0.0}


def config(**changes):
    given = {"targets": Targets(1.0, 0.05), "token_budget": 256, "max_running": 8, "kv_tokens": 4096, **HOST}
    return EngineConfig(**given | changes)


def run(trace, policy="chunked", forecast=None, **changes):
    return list(simulate(trace, forecast or PlainForecast(), POLICIES[policy](), config(**changes)))


def test_a_lone_request_takes_its_prompt_and_a_step_for_each_further_token():
    [done] = run([Arrival(1.0, 100, 3)], forecast=PlainForecast(key=0.0))
    assert done.first_token == pytest.approx(1.0 + 1e-3 + 100 * 1e-4)
    assert done.finish == pytest.approx(done.first_token + 2 * (1e-3 + 1e-4))
    assert done.mean_tpot == pytest.approx(1.1e-3)


def test_who_arrives_is_taken_in_one_after_another_and_the_first_does_not_wait_for_the_others():
    cost = 1e-3 + 100 * 1e-4
    [lone] = run([Arrival(1.0, 100, 1)], forecast=PlainForecast(key=0.0), intake_seconds=0.002)
    assert lone.first_token == pytest.approx(1.0 + 0.002 + cost)
    burst = run([Arrival(1.0, 50, 1)] * 3, forecast=PlainForecast(key=0.0), intake_seconds=0.002)
    first = 1.0 + 0.002 + 1e-3 + 50 * 1e-4
    assert [each.first_token for each in burst] == pytest.approx([first, first + cost, first + cost])
    assert [each.arrival for each in burst] == [1.0] * 3


def test_who_is_not_taken_in_by_then_waits_for_the_iteration_after_the_next():
    cost = 1e-3 + 100 * 1e-4
    slow = run([Arrival(0.0, 100, 1)] * 3, forecast=PlainForecast(key=0.0), intake_seconds=0.008)
    first = 0.008 + cost
    assert [each.first_token for each in slow] == pytest.approx([first, first + cost, first + 2 * cost])


def test_a_long_prompt_comes_in_chunks_of_the_budget():
    [done] = run([Arrival(0.0, 600, 1)], forecast=PlainForecast(key=0.0))
    assert done.first_token == pytest.approx(3 * 1e-3 + 600 * 1e-4)  # 256 + 256 + 88


def test_a_prompt_that_was_seen_before_is_found_in_the_cache():
    ids = (1, 2)
    first, second = run([Arrival(0.0, 1100, 1, ids), Arrival(9.0, 1100, 1, ids)])
    assert (first.cached, second.cached) == (0, 1024)
    assert second.first_token - 9.0 < first.first_token / 2


def test_a_request_that_can_never_fit_is_dropped_and_counted():
    dropped, served = run([Arrival(0.0, 5000, 1), Arrival(0.0, 10, 1)])
    assert dropped.dropped
    assert math.isnan(dropped.first_token)
    assert not served.dropped


def test_who_has_not_finished_at_the_end_is_told_without_a_finish():
    found = run([Arrival(0.0, 100, 1000), Arrival(50.0, 10, 1)], end_seconds=0.1)
    assert [math.isnan(each.finish) for each in found] == [True, True]


arrivals = st.lists(
    st.tuples(st.floats(0, 0.2), st.integers(1, 900), st.integers(1, 60)),
    min_size=1,
    max_size=25,
)


@pytest.mark.parametrize("policy", ONE_DEVICE)
@given(arrivals)
@settings(max_examples=15, deadline=None)
def test_every_request_is_served_once_in_order_of_time_and_memory_holds(policy, gaps):
    time, trace = 0.0, []
    for gap, prompt, output in gaps:
        time += gap
        trace.append(Arrival(time, prompt, output))
    simulation = Simulation(trace, PlainForecast(), POLICIES[policy](), config(kv_tokens=2048))
    found = []
    for each in simulation:
        found.append(each)
        assert all(device.kv.used <= simulation.blocks for device in simulation.devices)
    assert sorted(each.arrival for each in found) == [each.seconds for each in trace]
    assert sum(each.output for each in found) == sum(each.output for each in trace)
    for each in found:
        assert not each.dropped
        assert each.arrival < each.first_token <= each.finish


@pytest.mark.parametrize("policy", ONE_DEVICE)
def test_the_same_trace_gives_the_same_results(policy):
    trace = [Arrival(0.05 * number, 40 + 37 * number % 500, 5 + number % 40) for number in range(60)]
    assert repr(run(trace, policy)) == repr(run(trace, policy))


def test_arrivals_that_go_back_in_time_are_refused():
    with pytest.raises(InvalidValue, match="sort the trace"):
        run([Arrival(1.0, 10, 1), Arrival(0.5, 10, 1)])
