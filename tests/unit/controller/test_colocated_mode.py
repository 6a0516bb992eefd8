# SPDX-License-Identifier: Apache-2.0
"""Two engines that have all cores by turns, until parted cores are forecast to be better."""

from dataclasses import replace

import pytest
from controller_fakes import EMBED, FakeCores, World, pair, split, view

from flexnpu.controller import Grant, Loop, Service, ServiceError, Settings
from flexnpu.planner import Targets

SETTINGS = Settings(mode="co-located")


@pytest.fixture
def world():
    return World()


def turn(loop, world, times=1):
    for _ in range(times):
        (decision,) = loop.step()
        world.sleep(0.05)
    return decision


def test_engines_that_have_little_to_do_share_the_time_on_all_cores_decode_first(world, qwen):
    world.prefill.waiting = 1
    loop = Loop([pair(qwen)], SETTINGS, world.seams())
    grants = turn(loop, world).after
    assert split(grants) == (24, 24)
    assert grants["prefill"].share + grants["decode"].share == 100
    assert (grants["prefill"].priority, grants["decode"].priority) == (0, 1)
    assert world.cores.views[0].grants == grants


def test_a_phase_that_falls_idle_and_comes_back_needs_no_move(world, qwen):
    world.prefill.waiting = 1
    loop = Loop([pair(qwen)], SETTINGS, world.seams())
    turn(loop, world)
    moves = len(world.cores.moves)
    assert moves == 1
    for _ in range(5):
        world.decode.running, world.prefill.waiting = 0, 1
        turn(loop, world)
        world.decode.running, world.prefill.waiting = 4, 0
        turn(loop, world)
    assert len(world.cores.moves) == moves


def test_cores_are_parted_where_that_is_forecast_to_be_better_and_time_is_shared_again_afterwards(world, qwen):
    world.prefill.waiting, world.decode.running = 30, 24
    loop = Loop([pair(qwen)], SETTINGS, world.seams())
    parted = turn(loop, world)
    assert "cores are parted" in parted.reason
    assert sum(split(parted.after)) == 24
    assert all(grant.share is None for grant in parted.after.values())
    world.prefill.waiting, world.decode.running = 2, 0
    shared = turn(loop, world)
    assert split(shared.after) == (24, 24)
    assert shared.applied.done


def test_the_end_leaves_parted_safe_cores(world, qwen):
    world.prefill.waiting = 1
    loop = Loop([pair(qwen)], SETTINGS, world.seams())
    turn(loop, world)
    loop.close()
    assert world.cores.views[0].grants == {"prefill": Grant(12), "decode": Grant(12)}


def test_mode_split_takes_shares_away_that_were_there_at_the_start(world, qwen):
    shared = {"prefill": Grant(24, 50.0), "decode": Grant(24, 50.0, 1)}
    world.cores.views = [replace(view(), grants=shared)]
    world.prefill.waiting, world.decode.running = 4, 8
    loop = Loop([pair(qwen)], Settings(), world.seams())
    turn(loop, world, times=5)
    assert len(world.cores.moves) == 1
    assert all(grant.share is None for grant in world.cores.views[0].grants.values())


def test_an_engine_that_cannot_be_seen_leads_to_parted_safe_cores(world, qwen):
    world.prefill.waiting = 1
    loop = Loop([pair(qwen)], SETTINGS, world.seams())
    turn(loop, world)
    world.decode.page = lambda: "nothing\n"
    decision = turn(loop, world, times=15)
    assert decision.mode == "safe"
    assert world.cores.views[0].grants == {"prefill": Grant(12), "decode": Grant(12)}


def test_several_services_on_one_device_are_refused(qwen):
    world = World(cores=FakeCores([view(8, 8, embed=8)]))
    lone = Service("embed", qwen, Targets(0.5, 0.05), engines=(EMBED,), minima=(2,), safe=(4,))
    with pytest.raises(ServiceError, match="co-located takes one service per device, and device 0 has chat, embed"):
        Loop([pair(qwen, minima=(2, 3), safe=(10, 10)), lone], SETTINGS, world.seams())
