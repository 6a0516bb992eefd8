# SPDX-License-Identifier: Apache-2.0
"""Engines that know nothing of the controller: planned for by their steps alone."""

from dataclasses import replace

import pytest
from controller_fakes import World

from flexnpu.controller import Endpoint, Loop, Settings
from flexnpu.controller.seam import FollowError
from flexnpu.planner import Split, Targets

SETTINGS = Settings(Targets(ttft=1.0, itl=0.05))


@pytest.fixture
def world():
    """Both engines were seen at work long ago."""
    world = World()
    prefill_step(world, ago=60)
    decode_step(world, ago=60)
    return world


@pytest.fixture
def loop(world, forecaster):
    return Loop(Endpoint("prefill"), Endpoint("decode"), forecaster, SETTINGS, world.seams())


def decode_step(world, requests=8, context=16_000, ago=0.0):
    world.begin("decode", requests=requests, tokens=requests, context=context, ago=ago)


def prefill_step(world, tokens=6000, ago=0.0):
    world.begin("prefill", tokens=tokens, context=tokens, ago=ago)


def test_a_prompt_moves_cores_in_the_turn_that_sees_its_step_begin(loop, world):
    decode_step(world)
    assert loop.step().phases == {"prefill": "idle", "decode": "busy"}
    prefill_step(world, ago=0.002)
    decision = loop.step()
    assert decision.phases == {"prefill": "busy", "decode": "busy"}
    assert decision.inputs["prefill"]["new_tokens"] == 6000
    assert decision.inputs["decode"] == {
        "steps": 2, "phase": "decode", "requests": 8, "new_tokens": 8, "context_tokens": 16_000, "lengths": "observed",
    }  # fmt: skip
    assert world.cores.view.split.prefill > 12
    assert decision.seen_after_wall_seconds == pytest.approx(0.002)


def test_an_engine_is_busy_for_as_long_as_its_step_is_forecast_to_take_and_a_little_longer(loop, world, forecaster):
    prefill_step(world)
    assert loop.step().phases["prefill"] == "busy"
    cores = world.cores.view.split.prefill
    seconds = loop._prefill.took(loop._prefill.requests(0.0))
    assert seconds == pytest.approx(float(forecaster.alone(loop._prefill.requests(0.0))[cores]))
    world.sleep(seconds)
    assert loop.step().phases["prefill"] == "busy"
    world.sleep(0.5 * seconds + 0.041)
    assert loop.step().phases["prefill"] == "idle"


def test_it_looks_again_when_an_engine_is_to_be_taken_for_idle(world, forecaster):
    loop = Loop(Endpoint("prefill"), Endpoint("decode"), forecaster, replace(SETTINGS, period=10.0), world.seams())
    decode_step(world)
    turns = iter([False, False, True])
    loop.run(lambda: next(turns))
    assert 0.01 < world.slept[0] < 0.2
    assert world.slept[1] == pytest.approx(10.0)
    assert [decision.phases["decode"] for decision in world.decisions[:2]] == ["busy", "idle"]


def test_gaps_between_steps_are_what_decode_took(loop, world):
    for _ in range(10):
        decode_step(world)
        loop.step()
        world.sleep(0.04)
    world.sleep(5.0)  # a pause is no gap
    decode_step(world)
    loop.step()
    loop.close()
    outcome = world.outcomes[0]
    assert outcome.decode_observed_seconds == pytest.approx(0.04)
    assert outcome.decode_tokens == 9 * 8


def test_steps_are_read_in_device_time(world, forecaster):
    world.cores.view = replace(world.cores.view, scale=10.0)
    loop = Loop(Endpoint("prefill"), Endpoint("decode"), forecaster, SETTINGS, world.seams())
    for _ in range(4):
        decode_step(world)
        loop.step()
        world.sleep(0.4)
    loop.close()
    assert world.outcomes[0].decode_observed_seconds == pytest.approx(0.04)


def test_an_engine_that_never_began_a_step_is_not_taken_for_idle(forecaster):
    world = World()
    loop = Loop(Endpoint("prefill"), Endpoint("decode"), forecaster, SETTINGS, world.seams())
    decode_step(world)
    decision = loop.step()
    assert (decision.mode, decision.after) == ("safe", (12, 12))
    assert "prefill has begun no step yet" in decision.reason
    prefill_step(world)
    assert loop.step().mode == "planned"


def test_a_step_that_is_told_anew_is_the_same_step(loop, world):
    for _ in range(5):
        decode_step(world, context=8000)
        loop.step()
        world.sleep(0.001)
        world.numbers["decode"] -= 1
        decode_step(world, context=16_000)
        assert loop.step().inputs["decode"]["context_tokens"] == 16_000
        world.sleep(0.039)
    loop.close()
    assert world.outcomes[-1].decode_observed_seconds == pytest.approx(0.04)


def test_steps_that_cannot_be_followed_lead_to_the_safe_split(loop, world):
    decode_step(world)
    loop.step()
    world.unfollowed = FollowError("no daemon listens in /run/x")
    assert loop.step().mode == "planned"
    world.sleep(1.1)
    decision = loop.step()
    assert (decision.mode, decision.after) == ("safe", (12, 12))
    assert "has not been followed for 1.10 s (no daemon listens in /run/x)" in decision.reason
    world.unfollowed = None
    assert loop.step().mode == "planned"


def test_engines_that_were_taken_for_each_other_lead_to_the_safe_split(loop, world):
    world.begin("decode", phase="prefill", tokens=4000, context=4000)
    decision = loop.step()
    assert decision.mode == "safe"
    assert "decode runs prefill steps; it must be the vNPU of the decode engine" in decision.reason


def test_one_engine_is_followed_and_the_other_read(world, forecaster):
    world.read = lambda urls: [world.decode.page()] if urls == ["http://127.0.0.1:2"] else 1 / 0
    loop = Loop(Endpoint("prefill"), Endpoint("decode", "http://127.0.0.1:2"), forecaster, SETTINGS, world.seams())
    world.decode.running = 8
    prefill_step(world)
    assert loop.step().phases == {"prefill": "busy", "decode": "busy"}


def test_an_observer_says_what_it_would_do_and_moves_nothing(world, forecaster):
    settings = replace(SETTINGS, mode="observe")
    loop = Loop(Endpoint("prefill"), Endpoint("decode"), forecaster, settings, world.seams())
    decode_step(world)
    prefill_step(world)
    decision = loop.step()
    assert decision.mode == "observed"
    assert (decision.before, decision.moved) == ((12, 12), True)
    assert decision.forecast.decode_seconds < 0.05
    assert not loop.step().moved  # it would be there by now
    loop.close()
    assert world.cores.moves == []
    assert world.cores.view.split == (12, 12)


def test_a_pinned_split_holds_whatever_comes_and_says_what_a_plan_would_be(world, forecaster):
    settings = replace(SETTINGS, mode="pinned", safe=Split(9, 15), minima=Split(1, 1))
    loop = Loop(Endpoint("prefill"), Endpoint("decode"), forecaster, settings, world.seams())
    prefill_step(world)
    decision = loop.step()
    assert (decision.mode, world.cores.view.split) == ("pinned", (9, 15))
    assert decision.reason.startswith("pinned 9/15; a plan would be ")
    decode_step(world)
    loop.step()
    assert world.cores.moves == [(9, 15)]
