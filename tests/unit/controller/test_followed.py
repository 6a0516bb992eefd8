# SPDX-License-Identifier: Apache-2.0
"""Engines that know nothing of the controller: planned for by their steps alone."""

import pytest
from controller_fakes import DECODE, World, pair, split, view

from flexnpu.controller import Endpoint, Loop, Settings
from flexnpu.controller.seam import FollowError

ENDS = Endpoint("prefill"), Endpoint("decode")


@pytest.fixture
def world():
    """Both engines were seen at work long ago."""
    world = World()
    prefill_step(world, ago=60)
    decode_step(world, ago=60)
    return world


@pytest.fixture
def loop(world, qwen):
    return Loop([pair(qwen, *ENDS)], Settings(), world.seams())


def one(loop):
    """A turn; its decision, and what that is for the one service."""
    (decision,) = loop.step()
    return decision, decision.services[0]


def decode_step(world, requests=8, context=16_000, ago=0.0):
    world.begin("decode", requests=requests, tokens=requests, context=context, ago=ago)


def prefill_step(world, tokens=6000, ago=0.0):
    world.begin("prefill", tokens=tokens, context=tokens, ago=ago)


def test_a_prompt_moves_cores_in_the_turn_that_sees_its_step_begin(loop, world):
    decode_step(world)
    assert one(loop)[1].phases == {"prefill": "idle", "decode": "busy"}
    prefill_step(world, ago=0.002)
    decision, chat = one(loop)
    assert chat.phases == {"prefill": "busy", "decode": "busy"}
    assert chat.inputs["prefill"]["new_tokens"] == 6000
    assert chat.inputs["decode"] == {
        "steps": 2, "phase": "decode", "requests": 8, "new_tokens": 8, "context_tokens": 16_000, "lengths": "observed",
    }  # fmt: skip
    assert world.cores.split.prefill > 12
    assert decision.seen_after_wall_seconds == pytest.approx(0.002)


def test_an_engine_is_busy_for_as_long_as_its_step_is_forecast_to_take_and_a_little_longer(loop, world, forecaster):
    prefill_step(world)
    assert one(loop)[1].phases["prefill"] == "busy"
    engine = loop.devices[0].units[0].engines[0]
    seconds = engine.took(engine.work(0.0), engine.cores())
    assert seconds == pytest.approx(float(forecaster.alone(engine.work(0.0).prefill)[world.cores.split.prefill]))
    world.sleep(seconds)
    assert one(loop)[1].phases["prefill"] == "busy"
    world.sleep(0.5 * seconds + 0.041)
    assert one(loop)[1].phases["prefill"] == "idle"


def test_it_looks_again_when_an_engine_is_to_be_taken_for_idle(world, qwen):
    loop = Loop([pair(qwen, *ENDS)], Settings(period=10.0), world.seams())
    decode_step(world)
    turns = iter([False, False, True])
    loop.run(lambda: next(turns))
    assert 0.01 < world.slept[0] < 0.2
    assert world.slept[1] == pytest.approx(10.0)
    assert [decision.services[0].phases["decode"] for decision in world.decisions[:2]] == ["busy", "idle"]


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


def test_steps_are_read_in_device_time(world, qwen):
    world.cores.views = [view(scale=10.0)]
    loop = Loop([pair(qwen, *ENDS)], Settings(), world.seams())
    for _ in range(4):
        decode_step(world)
        loop.step()
        world.sleep(0.4)
    loop.close()
    assert world.outcomes[0].decode_observed_seconds == pytest.approx(0.04)


def test_an_engine_that_never_began_a_step_is_not_taken_for_idle(qwen):
    world = World()
    loop = Loop([pair(qwen, *ENDS)], Settings(), world.seams())
    decode_step(world)
    decision, _ = one(loop)
    assert (decision.mode, split(decision.after)) == ("safe", (12, 12))
    assert "prefill has begun no step yet" in decision.reason
    prefill_step(world)
    assert one(loop)[0].mode == "planned"


def test_a_step_that_is_told_anew_is_the_same_step(loop, world):
    for _ in range(5):
        decode_step(world, context=8000)
        loop.step()
        world.sleep(0.001)
        world.numbers["decode"] -= 1
        decode_step(world, context=16_000)
        assert one(loop)[1].inputs["decode"]["context_tokens"] == 16_000
        world.sleep(0.039)
    loop.close()
    assert world.outcomes[-1].decode_observed_seconds == pytest.approx(0.04)


def test_steps_that_cannot_be_followed_lead_to_the_safe_split(loop, world):
    decode_step(world)
    loop.step()
    world.unfollowed = {"decode": FollowError("no daemon listens in /run/x")}
    assert one(loop)[0].mode == "planned"
    world.sleep(1.1)
    decision, _ = one(loop)
    assert (decision.mode, split(decision.after)) == ("safe", (12, 12))
    assert "has not been followed for 1.10 s (no daemon listens in /run/x)" in decision.reason
    world.unfollowed = {}
    assert one(loop)[0].mode == "planned"


def test_engines_that_were_taken_for_each_other_lead_to_the_safe_split(loop, world):
    world.begin("decode", phase="prefill", tokens=4000, context=4000)
    decision, _ = one(loop)
    assert decision.mode == "safe"
    assert "decode runs prefill steps; it must be the vNPU of the decode engine" in decision.reason


def test_one_engine_is_followed_and_the_other_read(world, qwen):
    loop = Loop([pair(qwen, Endpoint("prefill"), DECODE)], Settings(), world.seams())
    world.decode.running = 8
    prefill_step(world)
    assert one(loop)[1].phases == {"prefill": "busy", "decode": "busy"}


def test_an_observer_says_what_it_would_do_and_moves_nothing(world, qwen):
    loop = Loop([pair(qwen, *ENDS)], Settings(moves=False), world.seams())
    decode_step(world)
    prefill_step(world)
    decision, chat = one(loop)
    assert decision.mode == "observed"
    assert (split(decision.before), decision.moved) == ((12, 12), True)
    assert chat.forecast.decode_seconds < 0.05
    assert not one(loop)[0].moved  # it would be there by now
    loop.close()
    assert world.cores.moves == []
    assert world.cores.split == (12, 12)


def test_pinned_cores_hold_whatever_comes_and_it_says_what_a_plan_would_be(world, qwen):
    loop = Loop([pair(qwen, *ENDS, pin=(9, 15), minima=(1, 1))], Settings(mode="pinned"), world.seams())
    prefill_step(world)
    decision, chat = one(loop)
    assert (decision.mode, world.cores.split) == ("pinned", (9, 15))
    assert chat.reason.startswith("pinned cores 9/15: a plan would be prefill ")
    decode_step(world)
    loop.step()
    assert len(world.cores.moves) == 1
