# SPDX-License-Identifier: Apache-2.0
"""Unhealthy, and Healthy again: the kubelet is told each time, with the whole list."""

from __future__ import annotations

import asyncio
import time

import pytest
from fake_kubelet import AdmissionError, StartError, pod, until

CORES = "flexnpu.io/cores"


def test_a_lost_device_takes_its_units_down_and_a_found_one_up_again(world, during):
    there = world()
    there.node.device_count = 2

    async def test():
        async with there.up():
            for _ in range(3):
                there.node.trouble[1] = "device 1 is lost: /dev/davinci1 is gone"
                there.node.tell()
                await until(lambda: there.kubelet.allocatable(CORES) == 24)
                del there.node.trouble[1]
                there.node.tell()
                await until(lambda: there.kubelet.allocatable(CORES) == 48)
            assert len(there.kubelet.lists(CORES)) == 7
            assert all(len(told) == 48 for told in there.kubelet.lists(CORES))

    during(test())


def test_a_pod_on_a_lost_device_is_told_so(world, during):
    there = world()

    async def test():
        async with there.up():
            llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
            there.node.trouble[0] = "device 0 is lost: /dev/davinci0 is gone"
            there.node.tell()
            await until(lambda: there.kubelet.allocatable(CORES) == 0)
            with pytest.raises(StartError, match="device 0 is lost: /dev/davinci0 is gone"):
                await there.kubelet.start_container(llm, "main")
            there.node.trouble.clear()
            there.node.tell()
            await until(lambda: there.kubelet.allocatable(CORES) == 24)
            await there.kubelet.start_container(llm, "main")

    during(test())


def test_a_daemon_that_stays_away_takes_all_units_down_and_one_that_is_back_up_again(world, during):
    there = world(unhealthy_after=0.3)

    async def test():
        async with there.up():
            for _ in range(2):
                there.node.up = False
                there.node.tell()
                await until(lambda: there.kubelet.allocatable(CORES) == 0)
                there.node.up = True
                await until(lambda: there.kubelet.allocatable(CORES) == 24)
            assert [sum(told.values()) for told in there.kubelet.lists(CORES)] == [24, 0, 24, 0, 24]

    during(test())


def test_a_daemon_that_is_soon_back_is_noticed_by_nobody(world, during):
    there = world(unhealthy_after=30)

    async def test():
        async with there.up():
            there.node.up = False
            there.node.tell()
            await asyncio.sleep(0.3)
            there.node.up = True
            await asyncio.sleep(0.7)
            assert len(there.kubelet.lists(CORES)) == 1

    during(test())


def test_an_arbiter_that_grants_nothing_takes_its_device_down_until_it_does(world, during, monkeypatch):
    monkeypatch.setattr("device_plugin.keeper.READY_WITHIN_S", 0.2)
    monkeypatch.setattr("device_plugin.arbiters.STUCK_AFTER_S", 0.2)
    there = world()
    there.node.grants = False

    async def test():
        async with there.up():
            llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
            with pytest.raises(StartError, match=r"k8s-0-c0 has not got its 6 cores in 0.2 s"):
                await there.kubelet.start_container(llm, "main")
            there.node.tell()
            await until(lambda: there.kubelet.allocatable(CORES) == 0)
            there.node.grants = True
            there.node.tell()
            await until(lambda: there.kubelet.allocatable(CORES) == 24)
            await there.kubelet.start_container(llm, "main")

    during(test())


def test_processes_of_the_container_before_are_waited_for_and_named(world, during, monkeypatch):
    monkeypatch.setattr("device_plugin.keeper.READY_WITHIN_S", 0.3)
    there = world()

    async def test():
        async with there.up():
            llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
            await there.kubelet.start_container(llm, "main")
            there.node.tenants["k8s-0-c0"] = 2
            with pytest.raises(StartError, match="2 processes of the container before this one"):
                await there.kubelet.start_container(llm, "main")
            soon = asyncio.get_running_loop().call_later(0.1, there.node.tenants.clear)
            await there.kubelet.start_container(llm, "main")
            soon.cancel()

    during(test())


def test_allocate_waits_for_no_daemon(world, during):
    there = world()

    async def test():
        async with there.up():
            there.node.check = lambda: time.sleep(0.5)  # whoever asks it
            there.node.tell()
            await asyncio.sleep(0.1)
            began = time.monotonic()
            for i in range(4):
                await there.kubelet.admit(pod(f"p{i}", cores=2, memory=2))
            assert time.monotonic() - began < 1.0
            del there.node.check

    during(test())


def test_a_flood_of_pods_that_come_and_go_leaves_all_as_it_was(world, during):
    there = world(forget_after=0.3, seed=7)
    there.node.device_count = 2

    async def test():
        async with there.up():
            refused = 0
            for round_ in range(36):
                try:
                    asked = {"cores": 1 + round_ % 7, "memory": 1 + round_ % 11} if round_ % 3 else {"vnpu": 1}
                    new = await there.kubelet.admit(pod(f"p{round_}", **asked))
                    await there.kubelet.start_container(new, "main")
                except AdmissionError:
                    refused += 1
                if len(there.kubelet.pods) > 9:
                    there.kubelet.remove(there.kubelet.pods[round_ % 5])
                if round_ % 18 == 17:
                    assert await there.kubelet.restart(there.resources) == []
            assert refused <= 8
            there.kubelet.pods.clear()
            there.node.tell()

            def all_free() -> bool:
                there.node.tell()
                return not there.node.registered and there.kubelet.allocatable("flexnpu.io/device") == 2

            await until(all_free)
            assert there.kubelet.allocatable(CORES) == 48
            assert there.kubelet.faults == []

    during(test())


def test_containers_that_start_at_once_while_the_kubelet_starts_anew_all_get_their_own(world, during):
    there = world()
    there.node.device_count = 2

    async def test():
        async with there.up():
            pods = [await there.kubelet.admit(pod(f"p{i}", cores=6, memory=16)) for i in range(8)]
            starts = [there.kubelet.start_container(each, "main") for each in pods]
            started = await asyncio.gather(*starts)
            assert len({each.mounts["/run/flexnpu"] for each in started}) == 8
            found = {vnpu.labels["pod"]: str(vnpu.attach_dirs[0]) for vnpu in there.node.registered.values()}
            assert [each.mounts["/run/flexnpu"] for each in started] == [found[each.name] for each in pods]
            assert await there.kubelet.restart(there.resources) == []
            await asyncio.gather(*(there.kubelet.start_container(each, "main") for each in pods))
            assert len(there.node.made) == 8

    during(test())
