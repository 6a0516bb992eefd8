# SPDX-License-Identifier: Apache-2.0
"""Several services on one device, and engines that go, hang and come back."""

from dataclasses import replace

import pytest
from controller_fakes import EMBED, FakeCores, FakeEngine, World, pair, view

from flexnpu.controller import DeviceView, Endpoint, Grant, Loop, Service, ServiceError, Settings
from flexnpu.planner import SnapshotError, Targets


@pytest.fixture
def world():
    """A pair and an engine of another service, all idle."""
    world = World(cores=FakeCores([view(8, 8, embed=8)]))
    world.pages = {EMBED.url: FakeEngine()}
    return world


@pytest.fixture
def embed(world):
    return world.pages[EMBED.url]


def services(qwen, **chat):
    lone = Service("embed", qwen, Targets(ttft=0.5, itl=0.05), engines=(EMBED,), minima=(2,), safe=(4,))
    return [pair(qwen, minima=(2, 3), safe=(10, 10), **chat), lone]


@pytest.fixture
def loop(world, qwen):
    return Loop(services(qwen), Settings(), world.seams())


def turn(loop, world, times=1):
    for _ in range(times):
        (decision,) = loop.step()
        world.sleep(0.05)
    return decision


def cores(decision):
    return {name: grant.cores for name, grant in decision.after.items()}


def test_cores_follow_the_service_that_has_work_and_minima_hold(loop, world, embed):
    world.prefill.waiting, world.decode.running = 8, 8
    chat = cores(turn(loop, world))
    assert sum(chat.values()) <= 24
    assert chat["embed"] == 2
    assert chat["prefill"] + chat["decode"] == 22
    world.prefill.waiting = world.decode.running = 0
    embed.waiting = 12
    busy = cores(turn(loop, world))
    assert busy["embed"] == 19
    assert (busy["prefill"] >= 2, busy["decode"] >= 3) == (True, True)


def test_a_decision_says_what_it_is_for_each_service_and_why_they_have_so_many(loop, world, embed):
    world.prefill.waiting, world.decode.running, embed.waiting = 4, 8, 4
    decision = turn(loop, world)
    assert [plan.service for plan in decision.services] == ["chat", "embed"]
    assert "requests keep their next target: chat " in decision.reason
    assert "(2 guaranteed)" in decision.reason
    assert sum(cores(decision).values()) <= 24


def test_a_heavier_service_goes_before_a_lighter_one_where_both_cannot_be_in_time(world, qwen, embed):
    world.prefill.waiting, world.decode.running, embed.waiting = 40, 30, 40
    found = []
    for weight in (0.01, 100.0):
        world.cores.views = [view(8, 8, embed=8)]
        decision = turn(Loop(services(qwen, weight=weight), Settings(), world.seams()), world)
        found.append(cores(decision)["embed"])
    assert found[0] > found[1]


def test_a_service_that_cannot_be_seen_has_its_safe_cores_and_the_others_are_planned_for(loop, world, embed):
    world.prefill.waiting, world.decode.running, embed.waiting = 8, 8, 3
    turn(loop, world)
    embed.page = lambda: "nothing\n"
    decision = turn(loop, world, times=25)
    assert decision.mode == "safe"
    chat, lone = decision.services
    assert (chat.mode, lone.mode) == ("planned", "safe")
    assert cores(decision)["embed"] == 4
    assert cores(decision)["prefill"] + cores(decision)["decode"] == 20
    assert "embed was last observed" in decision.reason


def test_an_engine_that_ends_leaves_its_cores_free_and_finds_them_when_it_is_back(loop, world):
    world.prefill.waiting, world.decode.running = 8, 8
    turn(loop, world)
    before = world.cores.views[0]
    world.cores.forget("prefill")
    decision = turn(loop, world, times=12)  # it looks twice a second
    assert decision.mode == "safe"
    assert "vNPU prefill is gone" in decision.reason
    assert "prefill" not in decision.after
    assert (cores(decision)["decode"], world.cores.views[0].grants["decode"].cores) == (10, 10)
    held = sum(grant.cores for grant in world.cores.views[0].grants.values())
    assert 24 - held >= 10
    world.cores.views[0] = replace(before, grants={**world.cores.views[0].grants, "prefill": Grant(10)})
    assert turn(loop, world, times=12).mode == "planned"


def test_an_engine_that_does_not_acknowledge_keeps_its_cores_until_it_does(loop, world):
    world.prefill.waiting, world.decode.running = 8, 8
    turn(loop, world)
    world.cores.late = True
    world.prefill.waiting = 0
    turn(loop, world, times=5)
    asked = len(world.cores.moves)
    decision = turn(loop, world, times=40)
    assert decision.mode == "safe"
    assert "has not acknowledged its cores for" in decision.reason
    assert not decision.services[0].grants.keys() & decision.moves.keys()
    assert len(world.cores.moves) - asked <= 11  # nothing more is asked of it once that is known
    moved = len(world.cores.moves)
    turn(loop, world, times=40)
    assert len(world.cores.moves) == moved
    world.cores.late = False
    world.cores.views[0] = replace(world.cores.views[0], pending={})
    assert turn(loop, world, times=12).mode == "planned"


def test_what_a_hung_service_holds_is_nobody_elses_and_the_rest_goes_to_those_who_want_it(loop, world, embed):
    world.prefill.waiting, world.decode.running = 8, 8
    turn(loop, world)
    assert world.cores.views[0].grants["embed"].cores == 2
    world.cores.late = True
    world.cores.views[0] = replace(world.cores.views[0], pending={"prefill": 1})
    turn(loop, world, times=25)
    world.prefill.waiting = world.decode.running = 0
    embed.waiting = 12
    decision = turn(loop, world)
    assert sum(cores(decision).values()) == 24
    assert decision.services[0].mode == "safe"
    assert decision.applied is None or decision.applied.error is None


def test_cores_that_others_took_while_a_vnpu_was_gone_are_not_dealt_out(loop, world, embed):
    world.prefill.waiting, world.decode.running = 8, 8
    turn(loop, world)
    world.cores.forget("prefill")
    held = world.cores.views[0].grants
    world.cores.views[0] = replace(world.cores.views[0], cores=sum(grant.cores for grant in held.values()))
    world.sleep(0.6)
    embed.waiting = 12
    for _ in range(30):
        decision = turn(loop, world)
        assert min(cores(decision).values()) >= 1
        assert decision.applied is None or decision.applied.error is None


def test_idle_services_have_all_cores_between_them(loop, world):
    world.cores.views = [view(2, 3, embed=2)]
    assert sum(cores(turn(loop, world, times=12)).values()) == 24


def test_a_queue_teaches_nothing_about_steps(world, qwen, embed):
    loop = Loop(services(qwen), Settings(), world.seams())
    unit = loop.devices[0].units[1]
    embed.running = 8
    for waiting in (0, 10):
        embed.waiting = waiting
        for _ in range(60):
            expected = float(unit.forecaster.forecaster.alone(unit.work(world.wall).decode)[10])
            embed.itl_count += 8
            embed.itl_sum += 8 * 1.3 * expected
            turn(loop, world)
        learnt = unit.forecaster.decode
        if waiting == 0:
            alone = learnt
    assert alone > 1.02
    assert learnt == pytest.approx(alone, rel=0.02)


def test_a_move_that_one_device_refuses_is_made_on_the_other(world, qwen):
    other = DeviceView((1,), "Ascend910B1", 24, 1.0, {"p1": Grant(12), "d1": Grant(12)})
    world.cores.views = [view(12, 12), other]
    ends = [Endpoint("prefill"), Endpoint("p1")], [Endpoint("decode"), Endpoint("d1")]
    loop = Loop([Service("chat", qwen, Targets(1.0, 0.05), *map(tuple, ends))], Settings(), world.seams())
    for name in ("prefill", "p1"):
        world.begin(name, phase="prefill", tokens=6000, context=6000)
    for name in ("decode", "d1"):
        world.begin(name, phase="decode", requests=8, tokens=8, context=16_000)
    world.cores.views[1] = replace(other, cores=13)  # another hand took some, which is not known yet
    first, second = loop.step()
    assert first.applied.done
    assert "do not fit 13 cores" in second.applied.error
    assert world.cores.split.prefill > 12


def test_engines_on_two_devices_are_planned_for_apart_and_moved_at_once(world, qwen):
    other = DeviceView((1,), "Ascend910B1", 24, 2.0, {"p1": Grant(12), "d1": Grant(12)})
    world.cores.views = [view(12, 12), other]
    chat = Service(
        "chat", qwen, Targets(1.0, 0.05),
        prefill=(Endpoint("prefill"), Endpoint("p1")), decode=(Endpoint("decode"), Endpoint("d1")),
    )  # fmt: skip
    loop = Loop([chat], Settings(), world.seams())
    for name in ("prefill", "p1"):
        world.begin(name, phase="prefill", tokens=6000, context=6000)
    for name in ("decode", "d1"):
        world.begin(name, phase="decode", requests=8, tokens=8, context=16_000)
    first, second = loop.step()
    assert (first.device, second.device, second.scale) == (0, 1, 2.0)
    assert first.moved
    assert second.moved
    assert len(world.cores.moves) == 1
    assert world.cores.moves[0].keys() == {"prefill", "decode", "p1", "d1"}


def test_two_engines_of_a_role_on_one_device_are_refused(world, qwen):
    world.cores.views = [view(8, 8, p1=4, d1=4)]
    chat = Service(
        "chat", qwen, Targets(1.0, 0.05),
        prefill=(Endpoint("prefill"), Endpoint("p1")), decode=(Endpoint("decode"), Endpoint("d1")),
    )  # fmt: skip
    with pytest.raises(ServiceError, match="has 2 of its prefill engines, prefill and p1, on device 0"):
        Loop([chat], Settings(), world.seams())


def test_an_engine_without_its_partner_on_the_device_is_refused(world, qwen):
    world.cores.views = [view(8, 8)]
    world.cores.forget("decode")
    with pytest.raises(ServiceError, match="'prefill' is alone of its service on device 0"):
        Loop([pair(qwen)], Settings(), world.seams())


def test_minima_that_do_not_fit_together_are_refused(world, qwen):
    lone = Service("embed", qwen, Targets(0.5, 0.05), engines=(EMBED,), minima=(20,), safe=(20,))
    with pytest.raises(SnapshotError, match="minima cores of chat, embed are 25 together; device 0 has 24 for them"):
        Loop([pair(qwen, minima=(2, 3)), lone], Settings(), world.seams())
