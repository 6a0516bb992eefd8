# SPDX-License-Identifier: Apache-2.0
"""What is found between engines and the simulator, of engines whose costs are known."""

from dataclasses import replace

import pytest

from flexnpu.experiment.calibrate import Calibration, Pace
from flexnpu.experiment.costs import (
    ApartError,
    Way,
    alone_of,
    costs_of_parted,
    costs_of_turns,
    on_top,
    pace_beside,
    probe,
    with_costs,
)
from flexnpu.experiment.description import find, parse_static
from flexnpu.experiment.report import Served
from flexnpu.experiment.simulated import engine_config, policy_of_static, simulate
from flexnpu.experiment.stack import MODEL, SOC, StackError
from flexnpu.forecast import Forecaster
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.simulator import Arrival, Phases

CALIBRATION = Calibration(Pace(0.02, 0.01), 0.001, Pace(0.03, 0.014), 2.0, Pace(0.003, 0.002))


@pytest.fixture(scope="module")
def forecaster():
    return Forecaster(ModelShape.from_config(MODEL), load_soc(SOC))


@pytest.fixture(scope="module")
def config(forecaster):
    return engine_config(find("burst"), CALIBRATION, forecaster)


def way(forecaster, static, real):
    """Engines that behave as the simulator does under the settings `real`."""

    def simulated(arrivals, settings):
        return simulate(static, arrivals, policy_of_static(parse_static(static)), forecaster, settings).requests

    return Way(lambda arrivals: simulated(arrivals, real), simulated)


LOADS = {
    "alike": [Arrival(0.0, 3072, 24)] * 5,
    "short": [Arrival(0.0, 256, 64)] * 5,
    "shorter": [Arrival(0.0, 64, 256)] * 4,
    "of two lengths": [*[Arrival(0.0, 3072, 24)] * 4, *[Arrival(0.0, 256, 384)] * 10],
    "as long as they may be": [Arrival(0.0, 8100, 90)],
}


REAL = [
    {"beside": Phases(0.95, 1.02), "turns": Phases(0.9, 1.2), "turn_seconds": Phases(0.012, 0.001)},
    {"beside": Phases(1.6, 1.0), "turns": Phases(1.6, 1.5), "turn_seconds": Phases(0.03, 0.004)},
    {"beside": Phases(1.0, 0.6), "turns": Phases(1.0, 0.6)},
]


@pytest.mark.parametrize("real", REAL, ids=["about as simulated", "slower", "decode quicker"])
@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_the_simulator_under_what_was_measured_does_as_the_engines(forecaster, config, load, real):
    real = replace(config, **real)
    split, shares = (way(forecaster, static, real) for static in ("split 12/12", "share 50/50"))
    usual = alone_of(split, config, load)
    assert (usual.prefill, usual.decode) == pytest.approx((0.0, 0.0))
    parted = costs_of_parted(split, config, load, usual)
    assert (parted.beside.prefill, parted.beside.decode) == pytest.approx(real.beside, rel=0.01)
    alone = on_top(alone_of(shares, config, load), usual)
    assert (alone.prefill, alone.decode) == pytest.approx(real.turn_seconds)
    turns = costs_of_turns(shares, config, load, alone)
    assert (turns.beside.prefill, turns.beside.decode) == pytest.approx(real.turns, rel=0.01)
    found = with_costs(config, parted, turns)
    assert found.turn_seconds == pytest.approx(real.turn_seconds)
    assert with_costs(config, parted, None).turns == (1.0, 1.0)


def test_what_every_way_costs_is_not_counted_for_turns(forecaster, config):
    late = replace(config, launch_seconds=config.launch_seconds + 0.005)
    usual, alone = (
        alone_of(way(forecaster, static, late), config, LOADS["alike"]) for static in ("split 12/12", "share 50/50")
    )
    assert usual.decode == pytest.approx(0.005)
    assert on_top(alone, usual) == Pace(pytest.approx(0.0), pytest.approx(0.0))


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_the_running_requests_outlast_the_prompts_and_fit_the_engine(forecaster, config, load):
    def simulated(arrivals):
        return way(forecaster, "split 12/12", config).simulated(arrivals, config)

    asked = probe(load, simulated, 1.5)
    assert all(request.prompt + request.output <= 8191 for request in asked)
    served = simulated(asked)
    prompts = [request for request in served if request.output == 1]
    running = [request for request in served if request.output > 1]
    assert len(running) == 4
    tokens = sum(request.prompt for request in prompts)
    assert len(prompts) <= len(load) or tokens < 2048 + prompts[0].prompt, (
        "no more at once than the load has, or needed"
    )
    assert min(one.arrived for one in prompts) > max(one.tokens[0] for one in running)
    assert min(one.tokens[-1] for one in running) > max(one.tokens[0] for one in prompts)


def test_engines_that_do_not_answer_say_why():
    told = [Served(0.0, 256, 3, (0.1, 0.2, 0.3)), Served(0.0, 4200, 1, (), "decode is gone")]
    with pytest.raises(StackError, match="while its costs were measured: decode is gone"):
        pace_beside(told)


def test_a_time_that_the_engines_were_apart_is_left_out(forecaster, config):
    real = way(forecaster, "split 12/12", replace(config, beside=Phases(1.2, 1.0)))
    asked = 0

    def apart_at_first(arrivals):
        nonlocal asked
        asked += 1
        served = real.live(arrivals)
        if asked > 1:
            return served
        late = [replace(one, tokens=tuple(at + 100.0 for at in one.tokens)) for one in served if one.output > 1]
        return [*late, *(one for one in served if one.output == 1)]

    found = costs_of_parted(Way(apart_at_first, real.simulated), config, LOADS["short"], Pace(0.0, 0.0))
    assert found.beside.prefill == pytest.approx(1.2, rel=0.01)
    assert asked == 4


def test_prompts_beside_which_decode_makes_no_step_are_no_measure():
    with pytest.raises(ApartError, match="no step of decode lies beside the prompts"):
        pace_beside([Served(0.0, 256, 3, (0.1, 0.9, 2.0)), Served(1.0, 64, 1, (1.5,))])


@pytest.mark.parametrize("decoding", [(0.1, 1.9), (1.1, 2.5)], ids=["over before", "begun after"])
def test_who_did_not_decode_all_the_time_is_no_measure(decoding):
    prompts = [Served(1.0, 4200, 1, (1.5,)), Served(1.0, 4200, 1, (2.0,))]
    with pytest.raises(ApartError, match="began after the prompts, or were over before them"):
        pace_beside([Served(0.0, 256, 2, decoding), *prompts])


def test_engines_too_slow_for_a_probe_get_a_longer_one_and_then_say_so(forecaster, config):
    slow = replace(config, beside=Phases(3.0, 1.0))
    found = costs_of_parted(way(forecaster, "split 12/12", slow), config, LOADS["short"], Pace(0.0, 0.0))
    assert found.beside.prefill == pytest.approx(3.0, rel=0.02)
    stuck = replace(config, beside=Phases(30.0, 1.0))
    with pytest.raises(StackError, match="requests that decode do not outlast prompts"):
        costs_of_parted(way(forecaster, "split 12/12", stuck), config, LOADS["short"], Pace(0.0, 0.0))
