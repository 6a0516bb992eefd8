# SPDX-License-Identifier: Apache-2.0
"""What the engine makes of policies and forecasts that fail or answer nonsense, and of arrivals that are none."""

import gc
import weakref

import pytest
from fixed_plans import Fixed
from plain_forecast import PlainForecast

from flexnpu._native import KvCache, SimulatedRequest
from flexnpu.forecast import Forecaster
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config
from flexnpu.simulator import Arrival, EngineConfig, Simulation, SimulationError
from flexnpu.simulator.arrival import Watch
from flexnpu.simulator.engine import NOBODY

TRACE = [Arrival(0.01 * number, 20 + number, 10, (0, 1, 2)) for number in range(12)]
WAYS = {
    "mixed": Fixed("aggregated", (8, 8)),
    "rounds": Fixed("split", (4, 4), steps=2),
    "lanes": Fixed("split", (4, 4)),
    "shared": Fixed("shared", (8, 8)),
}


def simulation(policy, trace=TRACE, forecast=None, watch=NOBODY, **changes):
    base = {"token_budget": 64, "max_running": 8, "kv_tokens": 200, "block_tokens": 4, "hash_tokens": 16}
    config = EngineConfig(**{**base, "reuse_plans": False, **changes})
    return Simulation(iter(trace), forecast or PlainForecast(cores=8, base=2e-3, token=5e-5), policy, config, watch)


class Failing:
    """As another policy, until it is asked for the last time."""

    name, layout = "failing", "one device"

    def __init__(self, policy, last):
        self._policy, self._left = policy, last

    def plan(self, snapshot, forecaster):
        self._left -= 1
        if not self._left:
            raise LookupError("no plan")
        return self._policy.plan(snapshot, forecaster)


@pytest.mark.parametrize("last", [5, 9, 14])
@pytest.mark.parametrize("way", WAYS)
def test_a_device_whose_policy_failed_takes_no_other_turn(way, last):
    one = simulation(Failing(WAYS[way], last))
    with pytest.raises(LookupError, match="no plan"):
        list(one)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="whose turn has failed"):
            one.devices[0].turn(1.0)


def test_a_hash_id_that_a_prompt_has_twice_costs_no_blocks():
    trace = [Arrival(float(number), 65, 5, (7, 8, 7, 7)) for number in range(12)]
    one = simulation(WAYS["mixed"], trace, kv_tokens=400)
    found = list(one)
    assert all(each.completed for each in found)
    assert [each.cached for each in found] == [0, *[32] * 11]
    assert one.devices[0].kv.used == 0


@pytest.mark.parametrize("who", ["policy", "forecast", "watch", "device"])
def test_a_simulation_that_is_referred_to_by_what_it_asks_is_collected(who):
    policy, forecast, plans = Failing(WAYS["mixed"], 1000), PlainForecast(cores=8), []
    one = simulation(policy, forecast=forecast, watch=Watch(plan=lambda now, plan: plans.append((now, plan))))
    {"policy": policy, "forecast": forecast, "watch": one.pool.asking, "device": one.devices[0]}[who].owner = one
    next(iter(one))
    seen = weakref.ref(one)
    del one, policy, forecast
    gc.collect()
    assert seen() is None


class Answering(PlainForecast):
    """As a plain forecast, but for what one of its methods makes of the answer."""

    def __init__(self, method, change):
        super().__init__(cores=8, base=2e-3)
        good = getattr(self, method)
        setattr(self, method, lambda *asked: change(good(*asked)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-3, 0.0, None, "soon"])
@pytest.mark.parametrize("way", WAYS)
def test_a_forecast_without_an_end_is_named(way, value):
    with pytest.raises((TypeError, ValueError), match=f"the forecast's seconds answered {value!r}"):
        list(simulation(WAYS[way], forecast=Answering("seconds", lambda seconds: value)))


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -1.0, 0.0])
@pytest.mark.parametrize("way", WAYS)
def test_a_forecast_of_steps_without_an_end_is_named(way, factor):
    with pytest.raises(ValueError, match="the forecast's steps answered"):
        list(simulation(WAYS[way], forecast=Answering("steps", lambda seconds: factor * seconds)))


@pytest.mark.parametrize("answer", [(1e-3,), None, (1e-3, float("nan")), (0.0, 1e-3)])
@pytest.mark.parametrize("way", ["rounds", "lanes"])
def test_a_forecast_of_both_phases_that_is_none_is_named(way, answer):
    with pytest.raises((TypeError, ValueError), match="the forecast's beside answered"):
        list(simulation(WAYS[way], forecast=Answering("beside", lambda seconds: answer)))


class Saying:
    """A policy that answers with whatever it is given."""

    name, layout = "saying", "one device"

    def __init__(self, answer):
        self._answer = answer

    def plan(self, snapshot, forecaster):
        return self._answer


NO_PLANS = {
    "an unknown mode": {"mode": "spilt"},
    "more cores than the device": {"mode": "aggregated", "split": (9, 9)},
    "more cores for both than the device": {"split": (5, 4)},
    "none for prompts": {"split": (0, 8)},
    "none for decode": {"split": (8, 0)},
    "a weight that is no number": {"mode": "shared", "split": (8, 8), "weight": float("nan")},
    "a weight over 1": {"mode": "shared", "split": (8, 8), "weight": 1.5},
    "a budget under 0": {"budget": -1},
    "steps under 0": {"steps": -1},
    "more steps than there is memory for": {"steps": 2**62},
}


@pytest.mark.parametrize("looks", [0.0, 1e-3])
@pytest.mark.parametrize("case", NO_PLANS)
def test_a_plan_that_the_device_cannot_follow_is_shown(case, looks):
    plan = Fixed(**{"mode": "split", "split": (4, 4), **NO_PLANS[case]}).plan(None, None)
    with pytest.raises((TypeError, ValueError), match=r"the policy answered Plan\("):
        list(simulation(Saying(plan), look_seconds=looks))


@pytest.mark.parametrize("answer", [None, "split", (4, 4)])
def test_what_is_no_plan_is_shown(answer):
    with pytest.raises(TypeError, match="the policy answered"):
        list(simulation(Saying(answer)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("token_budget", 2**63), ("look_ahead", 1.5), ("whole_prompts", "yes"), ("graphs", (-1,)), ("max_decoding", 2.5)],
)
def test_a_setting_of_another_type_is_named(name, value):
    with pytest.raises(TypeError, match=f"{name} is .*; it must be"):
        simulation(WAYS["mixed"], **{name: value})


@pytest.mark.parametrize(("name", "value"), [("look_seconds", 1e-18), ("feedback_part", -0.5), ("feedback_part", 2.0)])
def test_a_setting_out_of_its_range_is_named(name, value):
    with pytest.raises(SimulationError, match=f"{name} is {value}"):
        EngineConfig(**{name: value})


@pytest.mark.parametrize(
    "arrival",
    [
        Arrival(0.5, 40, 5, None),
        Arrival(0.5, 40, 5, (1.5, 2.5)),
        Arrival(0.5, 40, 5, ("a", "b")),
        Arrival(0.5, 40.0, 5),
        Arrival(0.5, 40, 5.0),
    ],
)
def test_a_request_of_other_types_is_named(arrival):
    with pytest.raises(SimulationError, match=r"request 1 is Arrival\("):
        list(simulation(WAYS["mixed"], [Arrival(0.0, 40, 5, (1, 2)), arrival]))


class Emptying:
    """A whole number that empties the list in which it is."""

    def __init__(self, among):
        self._among = among

    def __index__(self):
        self._among.clear()
        return 1


def test_hash_ids_may_change_while_they_are_read():
    ids = []
    ids.extend(Emptying(ids) for _ in range(1000))
    one = SimulatedRequest(0, 0.0, 10, 1, ids)
    assert one.index == 0
    assert not ids


def test_blocks_that_are_not_free_cannot_be_taken():
    cache = KvCache(capacity=10, block_tokens=4, hash_tokens=8, caching=True)
    with pytest.raises(RuntimeError, match="more blocks are taken than are free"):
        cache.grow(11)
    assert cache.free == 10


@pytest.mark.parametrize(("block_tokens", "hash_tokens"), [(0, 8), (-4, 8), (4, 2), (4, 6)])
def test_a_cache_whose_blocks_do_not_fit_together_is_refused(block_tokens, hash_tokens):
    with pytest.raises(ValueError, match="multiple of a block's"):
        KvCache(capacity=10, block_tokens=block_tokens, hash_tokens=hash_tokens, caching=True)


class Slow(Forecaster):
    def seconds(self, cores, load):
        return 100 * super().seconds(cores, load)


def test_a_forecaster_that_is_derived_is_asked_itself():
    found = {}
    for kind in (Forecaster, Slow):
        forecast = kind(ModelShape.from_config(find_config("Qwen2.5-7B")[1]), load_soc("Ascend910B2"))
        way = Fixed("aggregated", (24, 24))
        [found[kind]] = simulation(way, [Arrival(0.0, 60, 1)], forecast, dispatch_seconds=0.0, launch_seconds=0.0)
    assert found[Slow].first_token == pytest.approx(100 * found[Forecaster].first_token)


@pytest.mark.parametrize("count", [1, len(TRACE)])
def test_a_simulation_runs_once(count):
    one = simulation(WAYS["lanes"])
    assert len([found for found, _ in zip(one, range(count), strict=False)]) == count
    with pytest.raises(SimulationError, match="a simulation runs once"):
        next(iter(one))


def test_pairs_of_a_prompt_of_billions_of_tokens_are_counted():
    prompt, forecast = 2**33, PlainForecast(cores=8, base=1.0, token=0.0, pair=1e-8)
    [found] = simulation(
        Fixed("aggregated", (8, 8), budget=2**34),
        [Arrival(0.0, prompt, 1)],
        forecast,
        kv_tokens=2**34,
        token_budget=2**34,
    )
    assert found.first_token == pytest.approx(1e-8 * prompt * (prompt + 1) / 2)
