# SPDX-License-Identifier: Apache-2.0
"""Another mode, other targets, for engines that go on."""

from dataclasses import replace

import pytest
from controller_fakes import DECODE, World, pair, split, view

from flexnpu.controller import Endpoint, Loop, ServiceError, Settings
from flexnpu.planner import SnapshotError, Targets

ENDS = Endpoint("prefill"), Endpoint("decode")


@pytest.fixture
def world():
    world = World()
    world.begin("prefill", tokens=6000, context=6000)
    world.begin("decode", requests=8, tokens=8, context=16_000)
    return world


@pytest.fixture
def loop(world, qwen):
    return Loop([pair(qwen, *ENDS)], Settings(), world.seams())


def test_another_mode_takes_what_is_known_of_the_engines_over_and_moves_in_the_next_turn(loop, world, qwen):
    (before,) = loop.step()
    assert split(before.after) != (9, 15)
    loop.change([pair(qwen, *ENDS, pin=(9, 15), minima=(1, 1))], Settings(mode="pinned"))
    assert len(world.cores.moves) == 1  # nothing on the way there
    (decision,) = loop.step()
    assert (decision.mode, split(decision.after)) == ("pinned", (9, 15))
    assert decision.number > before.number
    assert decision.at >= before.at
    loop.change([pair(qwen, *ENDS)], Settings())
    (decision,) = loop.step()
    assert decision.mode == "planned"
    assert decision.services[0].phases == {"prefill": "busy", "decode": "busy"}


def test_the_outcome_of_the_last_decision_is_recorded_at_the_change(loop, world, qwen):
    loop.step()
    assert not world.outcomes
    loop.change([pair(qwen, *ENDS, targets=Targets(2.0, 0.1))], Settings())
    assert len(world.outcomes) == 1


def test_other_engines_are_refused_and_nothing_changes(loop, world, qwen):
    with pytest.raises(
        ServiceError, match="engines are others, or are observed otherwise: other, prefill; start the controller anew"
    ):
        loop.change([pair(qwen, Endpoint("other"), ENDS[1])], Settings())
    with pytest.raises(SnapshotError, match="safe cores of service 'chat' are 20/20"):
        loop.change([pair(qwen, *ENDS, safe=(20, 20))], Settings())
    assert loop.step()[0].mode == "planned"


def test_an_engine_that_would_be_observed_otherwise_is_refused(loop, qwen):
    with pytest.raises(ServiceError, match="engines are others, or are observed otherwise: decode; start"):
        loop.change([pair(qwen, ENDS[0], DECODE)], Settings())


def test_what_was_learnt_of_an_engine_is_kept(loop, world, qwen):
    loop.step()
    loop.devices[0].units[0].forecaster.decode = 1.4
    loop.change([pair(qwen, *ENDS, targets=Targets(2.0, 0.05))], Settings())
    assert loop.devices[0].units[0].forecaster.decode == 1.4


def test_an_engine_that_is_gone_meanwhile_belongs_to_its_service_all_the_same(loop, world, qwen):
    loop.step()
    world.cores.forget("prefill")
    world.sleep(0.6)
    assert "vNPU prefill is gone" in loop.step()[0].reason
    loop.change([pair(qwen, *ENDS, targets=Targets(2.0, 0.05))], Settings())
    assert "vNPU prefill is gone" in loop.step()[0].reason
    world.cores.views = [view()]
    world.sleep(0.6)
    for name in ("prefill", "decode"):
        world.begin(name, requests=1, tokens=1000 if name == "prefill" else 1, context=1000)
    assert loop.step()[0].mode == "planned"


def test_a_dry_run_that_follows_begins_where_the_cores_are(loop, world, qwen):
    (live,) = loop.step()
    loop.change([pair(qwen, *ENDS)], Settings(moves=False))
    assert split(loop.step()[0].before) == split(live.after) == world.cores.split


def test_a_dry_run_can_be_carried_out(world, qwen):
    loop = Loop([pair(qwen, *ENDS)], Settings(moves=False), world.seams())
    (dry,) = loop.step()
    assert not world.cores.moves
    loop.change([pair(qwen, *ENDS)], replace(Settings(), moves=True))
    (live,) = loop.step()
    assert world.cores.split == split(live.after) == split(dry.after)
