# SPDX-License-Identifier: Apache-2.0
"""Another mode, other targets, for engines that go on."""

from dataclasses import replace

import pytest
from controller_fakes import DECODE, World, pair, split

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
    with pytest.raises(ServiceError, match="engines on decode, prefill became engines on decode, other"):
        loop.change([pair(qwen, Endpoint("other"), ENDS[1])], Settings())
    with pytest.raises(SnapshotError, match="safe cores of service 'chat' are 20/20"):
        loop.change([pair(qwen, *ENDS, safe=(20, 20))], Settings())
    assert loop.step()[0].mode == "planned"


def test_an_engine_that_is_observed_in_another_way_begins_anew(loop, world, qwen):
    loop.step()
    world.decode.running = 8
    loop.change([pair(qwen, ENDS[0], DECODE)], Settings())
    (decision,) = loop.step()
    assert decision.mode == "planned"
    assert decision.services[0].inputs["decode"]["running"] == 8


def test_a_dry_run_can_be_carried_out(world, qwen):
    loop = Loop([pair(qwen, *ENDS)], Settings(moves=False), world.seams())
    (dry,) = loop.step()
    assert not world.cores.moves
    loop.change([pair(qwen, *ENDS)], replace(Settings(), moves=True))
    (live,) = loop.step()
    assert world.cores.split == split(live.after) == split(dry.after)
