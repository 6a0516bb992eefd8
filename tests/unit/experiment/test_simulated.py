# SPDX-License-Identifier: Apache-2.0
"""The simulator set up as the engines are."""

import pytest

from flexnpu.experiment.calibrate import Calibration, Pace
from flexnpu.experiment.description import find, parse_static
from flexnpu.experiment.simulated import engine_config, policy_of, policy_of_static, simulate, under_controller
from flexnpu.experiment.stack import MODEL, SOC
from flexnpu.forecast import Forecaster, Load, Request
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.planner import Instances, Snapshot, Split, Targets
from flexnpu.simulator import Arrival

CALIBRATION = Calibration(Pace(0.02, 0.01), 0.001, Pace(0.03, 0.014), 2.0, Pace(0.003, 0.002))


@pytest.fixture(scope="module")
def forecaster():
    return Forecaster(ModelShape.from_config(MODEL), load_soc(SOC))


def run(forecaster, policy, *arrivals, name="burst"):
    config = engine_config(find(name), CALIBRATION, forecaster)
    return simulate("policy", arrivals, policy, forecaster, config).requests


def test_a_lone_request_takes_what_the_forecast_says_and_the_host_costs(forecaster):
    [one] = run(forecaster, policy_of_static(parse_static("split 12/12")), Arrival(0.0, 1000, 3))
    assert one.ttft == pytest.approx(0.0005 + forecaster.seconds(12, Load.prefill(1000)) + 0.002)
    assert one.gaps[0] == pytest.approx(forecaster.seconds(12, Load.decode(1, 1001)) + 0.002)
    assert len(one.gaps) == 2


def test_shares_give_a_lone_phase_all_cores_and_each_its_part_beside_the_other(forecaster):
    policy = policy_of_static(parse_static("share 75/25"))
    [alone] = run(forecaster, policy, Arrival(0.0, 1000, 3))
    assert alone.ttft == pytest.approx(0.0005 + forecaster.seconds(24, Load.prefill(1000)) + 0.002)
    running, _ = run(forecaster, policy, Arrival(0.0, 100, 200), Arrival(0.5, 8000, 2))
    quick, slow = min(running.gaps), max(running.gaps)
    assert slow == pytest.approx(4 * (quick - 0.002) + 0.002, rel=0.05)


def test_requests_are_told_in_the_order_in_which_they_came(forecaster):
    found = run(forecaster, policy_of("split"), Arrival(0.0, 2000, 50), Arrival(0.0, 100, 2), Arrival(1.0, 300, 1))
    assert [each.prompt for each in found] == [2000, 100, 300]
    assert all(each.finished for each in found)


def test_only_so_many_decode_at_once_as_the_engine_is_started_with(forecaster):
    static = policy_of_static(parse_static("split 12/12"))
    arrivals = [Arrival(0.0, 100, 20) for _ in range(6)]
    found = run(forecaster, static, *arrivals, name="flexnpu-table")
    decoding = [sum(other.tokens[1] <= each.tokens[1] < other.tokens[-1] for other in found) for each in found]
    assert max(decoding) == 4


def test_a_policy_is_told_of_moves_and_of_the_host_what_the_controller_tells_it(forecaster):
    # A move that saves prefill less than the 5 ms that one costs by the controller's settings.
    targets, decode, now = Targets(1.0, 0.05), Load.decode(1, 1000), Split(17, 7)
    state = Snapshot(24, targets, (Request(200),), decode, current=now, switch_seconds=0.0, overhead=0.02)
    assert Instances().plan(state, forecaster).split != now
    assert policy_of("split").plan(state, forecaster).split == now


def test_a_mode_without_a_policy_is_said_to_have_none():
    assert policy_of("observe") is None


def test_under_a_controller_a_prompt_gets_cores_while_it_runs(forecaster):
    config = engine_config(find("burst"), CALIBRATION, forecaster)
    arrivals = [Arrival(0.0, 200, 200), Arrival(1.01, 6000, 2)]
    kept, moved = (
        simulate("policy", arrivals, policy_of("split"), forecaster, each).requests[1].ttft
        for each in (config, under_controller(config, forecaster))
    )
    on = {cores: forecaster.seconds(cores, Load.prefill(6000)) for cores in (12, 18)}
    assert kept > on[12], "it has what is kept for it while it is idle, to its end"
    assert on[18] < moved < 0.5 * (on[12] + on[18]), "it has more once the controller has looked"
