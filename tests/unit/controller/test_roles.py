# SPDX-License-Identifier: Apache-2.0
"""Devices of one phase each."""

from dataclasses import replace

import pytest
from controller_fakes import FakeCores, FakeEngine, World

from flexnpu.controller import DeviceView, Endpoint, Grant, Loop, ScrapeError, Service, Settings
from flexnpu.planner import Targets

COUNT = 4
ENDS = {f"{role}{index}": f"http://h:{number}{index}" for number, role in enumerate("pd", 1) for index in range(COUNT)}


class FakeAdmission:
    def __init__(self):
        self.wanted = {}

    def want(self, takes):
        self.wanted = dict(takes)


@pytest.fixture
def world():
    views = [
        DeviceView((index,), "Ascend910B2", 24, 1.0, {f"p{index}": Grant(12), f"d{index}": Grant(12)})
        for index in range(COUNT)
    ]
    world = World(cores=FakeCores(views))
    world.pages = {url: FakeEngine() for url in ENDS.values()}
    world.admission = FakeAdmission()
    return world


@pytest.fixture
def service(qwen):
    prefill, decode = (
        tuple(Endpoint(name, url) for name, url in ENDS.items() if name.startswith(role)) for role in "pd"
    )
    return Service("chat", qwen, Targets(1.0, 0.05), prefill=prefill, decode=decode, minima=(2, 3))


def make(world, service, **settings):
    seams = replace(world.seams(), admission=world.admission)
    return Loop([service], Settings(mode="disaggregated", dwell=1.0, **settings), seams)


def load(world, prompts, running):
    for name, url in ENDS.items():
        engine = world.pages[url]
        engine.waiting, engine.running = (prompts, 0) if name.startswith("p") else (0, running)


def turn(loop, world, seconds=0.05):
    end = world.wall + seconds
    while True:
        decisions = loop.step()
        world.sleep(0.05)
        if world.wall >= end:
            return decisions


def phases(loop):
    return [device.phase for device in loop.devices]


def test_half_of_the_devices_run_each_phase_at_first_and_keep_the_other_at_its_minimum(world, service):
    loop = make(world, service)
    decisions = turn(loop, world)
    assert phases(loop) == ["prefill", "prefill", "decode", "decode"]
    assert [tuple(grant.cores for grant in each.after.values()) for each in decisions] == [(21, 3)] * 2 + [(2, 22)] * 2
    assert "2:2 devices for prompts and decode" in decisions[0].reason


def test_engines_take_new_work_where_the_device_runs_their_phase(world, service):
    loop = make(world, service)
    turn(loop, world)
    takes = {name: world.admission.wanted[url] for name, url in ENDS.items()}
    assert takes == {"p0": True, "p1": True, "p2": False, "p3": False, "d0": False, "d1": False, "d2": True, "d3": True}
    loop.close()
    assert all(world.admission.wanted.values())


def test_the_ratio_follows_the_load_one_device_at_a_time_after_it_has_dwelt(world, service):
    loop = make(world, service)
    turn(loop, world)
    load(world, prompts=20, running=0)
    turn(loop, world, 0.9)
    assert phases(loop).count("prefill") == 2
    turn(loop, world, 0.2)
    assert phases(loop).count("prefill") == 3
    load(world, prompts=0, running=200)
    turn(loop, world, 2.5)
    assert phases(loop).count("prefill") == 1


def test_a_device_that_changes_its_phase_finishes_what_it_has(world, service):
    loop = make(world, service)
    load(world, prompts=0, running=40)
    turn(loop, world, 2.5)
    load(world, prompts=30, running=40)
    turn(loop, world, 5.0)
    changed = [device for device in loop.devices if device.phase == "prefill"]
    assert len(changed) > 1
    for device in changed:  # what runs there keeps its ITL; prompts have the rest
        (plan,) = device.decide(device.clock.now()).services
        assert plan.meets_itl
        assert plan.forecast.decode_seconds <= 0.05
        assert plan.phases["decode"] == "busy"


def test_a_device_that_cannot_be_seen_does_not_count(world, service):
    loop = make(world, service)
    turn(loop, world)
    for index in (2, 3):
        world.pages[ENDS[f"d{index}"]].broken = ScrapeError("connection refused")
    decisions = turn(loop, world, 2.0)
    assert [decision.mode for decision in decisions] == ["planned", "planned", "safe", "safe"]
    assert sorted(phases(loop)[:2]) == ["decode", "prefill"]
    for index in (0, 1, 3):
        world.pages[ENDS[f"d{index}"]].broken = ScrapeError("connection refused")
    world.pages[ENDS["d2"]].broken = None
    decisions = turn(loop, world, 2.0)
    assert phases(loop) == [None] * COUNT
    assert all(world.admission.wanted.values())  # somebody has to take requests
    assert "1 of 4 devices can be planned for: it runs both phases" in decisions[2].reason


def test_an_observer_admits_nobody_and_moves_nothing(world, service):
    loop = make(world, service, moves=False)
    turn(loop, world)
    assert world.admission.wanted == {}
    assert world.cores.moves == []


def test_a_wish_that_turns_round_begins_to_dwell_anew(world, service):
    loop = make(world, service)
    turn(loop, world)
    for _ in range(30):
        load(world, prompts=20, running=0)
        turn(loop, world)
        load(world, prompts=0, running=200)
        turn(loop, world)
    assert phases(loop).count("prefill") == 2


def test_another_target_changes_no_devices_phase_by_itself(world, service):
    loop = make(world, service)
    load(world, prompts=20, running=0)
    turn(loop, world, 1.5)
    before = phases(loop)
    assert before.count("prefill") == 3
    loop.change([replace(service, targets=Targets(2.0, 0.05))], Settings(mode="disaggregated", dwell=1.0))
    turn(loop, world)
    assert phases(loop) == before


@pytest.mark.parametrize("settings", [Settings(), Settings(mode="disaggregated", moves=False)])
def test_every_engine_takes_new_work_when_devices_run_both_phases_again(world, service, settings):
    loop = make(world, service)
    turn(loop, world)
    assert not all(world.admission.wanted.values())
    loop.change([service], settings)
    turn(loop, world)
    assert all(world.admission.wanted.values())
