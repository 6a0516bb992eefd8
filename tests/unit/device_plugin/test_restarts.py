# SPDX-License-Identifier: Apache-2.0
"""Kubelet, plugin and daemon start anew, in any order: nobody loses anything, and running pods are admitted again."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from fake_kubelet import AdmissionError, StartError, pod, until

CORES = "flexnpu.io/cores"


async def start(there, *pods) -> None:
    for each in pods:
        await there.kubelet.start_container(await there.kubelet.admit(each), "main")


def test_it_is_served_before_it_is_registered(world, during):
    there = world()

    async def test():
        async with there.up():
            for _ in range(5):
                assert await there.kubelet.restart(there.resources) == []
            assert there.kubelet.faults == []
            assert len(there.kubelet.registrations) >= 6 * 4

    during(test())


def test_running_pods_are_admitted_again_when_the_kubelet_starts_anew(world, during):
    there = world()

    async def test():
        async with there.up():
            await start(there, *(pod(f"p{i}", cores=6, memory=16) for i in range(4)))
            before = {name: vnpu.id for name, vnpu in there.node.registered.items()}
            assert await there.kubelet.restart(there.resources) == []
            with pytest.raises(AdmissionError, match="Available: 0"):
                await there.kubelet.admit(pod("one-more", cores=1, memory=1))
            assert {name: vnpu.id for name, vnpu in there.node.registered.items()} == before
            assert there.node.deleted == []

    during(test())


def test_a_socket_that_somebody_removed_is_made_anew(world, during):
    there = world()

    async def test():
        async with there.up():
            there.kubelet.endpoints[CORES].socket.unlink()
            await until(lambda: len(there.kubelet.registrations) == 8)
            await there.kubelet.ready(*there.resources)
            await start(there, pod("llm", cores=6, memory=16))
            assert there.kubelet.faults == []

    during(test())


def test_the_next_plugin_knows_what_was_given(world, during):
    there = world()

    async def test():
        async with there.kubelet:
            async with there.plugin():
                llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
                await there.kubelet.start_container(llm, "main")
                ids = {*there.kubelet.lists(CORES)[-1]}
            registered = len(there.kubelet.registrations)
            async with there.plugin(ready=False):
                await until(lambda: len(there.kubelet.registrations) >= registered + 4)
                await there.kubelet.ready(*there.resources)
                assert {*there.kubelet.lists(CORES)[0]} == ids
                assert there.kubelet.has_its_own(llm)
                await there.kubelet.start_container(llm, "main")
                assert there.node.made == ["k8s-0-c0"]

    during(test())


def test_a_plugin_that_lost_its_files_learns_from_the_kubelet(world, during):
    there = world()

    async def test():
        async with there.kubelet:
            async with there.plugin():
                await start(there, pod("llm", cores=20, memory=16))
            (there.config.pods_dir / "allocations.json").write_text("no JSON")
            async with there.plugin():
                await until(lambda: there.kubelet.allocatable("flexnpu.io/vnpu") == 1)  # of four cores
                await there.kubelet.ready(*there.resources)
                assert there.kubelet.has_its_own(there.kubelet.pods[0])
                assert there.node.deleted == []

    during(test())


def test_after_a_reboot_running_pods_find_their_devices_before_the_daemon_is_up(world, during):
    there = world()

    async def test():
        async with there.kubelet:
            async with there.plugin():
                llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
                await there.kubelet.start_container(llm, "main")
            await there.kubelet.stop()
            there.node.up = False
            there.node.registered.clear()
            await there.kubelet.start()
            async with there.plugin():
                assert there.kubelet.has_its_own(llm)
                with pytest.raises(StartError, match="no daemon listens; start flexnpud"):
                    await there.kubelet.start_container(llm, "main")
                there.node.up = True
                await there.kubelet.start_container(llm, "main")
                assert there.node.registered["k8s-0-c0"].labels["pod"] == "llm"

    during(test())


def test_on_a_new_node_nothing_is_offered_before_the_daemon_is_up(world, during):
    there = world()
    there.node.up = False

    async def test():
        async with there.kubelet, there.plugin(ready=False):
            await asyncio.sleep(0.3)
            assert there.kubelet.registrations == []
            there.node.up = True
            await there.kubelet.ready(*there.resources)

    during(test())


def test_a_kubelet_that_is_not_up_yet_is_waited_for(world, during):
    there = world()

    async def test():
        async with there.plugin(ready=False):
            await asyncio.sleep(0.3)
            async with there.kubelet:
                await there.kubelet.ready(*there.resources)
                assert there.kubelet.faults == []

    during(test())


def test_the_plugin_that_came_later_has_the_place_and_the_end_of_the_other_costs_nothing(world, during):
    there = world()

    async def test():
        async with there.kubelet, contextlib.AsyncExitStack() as later:
            async with there.plugin():
                await start(there, pod("one", cores=6, memory=16))
                await later.enter_async_context(there.plugin(ready=False))
                await until(lambda: len(there.kubelet.registrations) == 8)
            await asyncio.sleep(0.2)
            await there.kubelet.ready(*there.resources)
            await start(there, pod("other", cores=6, memory=16))
            assert len(there.kubelet.registrations) == 8
            assert there.kubelet.faults == []
            assert len([*there.kubelet.plugins.glob("*.sock")]) == 5

    during(test())


def test_sockets_of_a_plugin_that_was_killed_are_removed(world, during):
    there = world()

    async def test():
        async with there.kubelet:
            left = there.kubelet.plugins / "flexnpu.io-cores.0badcafe.sock"
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(left))
            async with there.plugin():
                assert not left.exists()

    during(test())


def test_a_vnpu_that_the_daemon_lost_is_made_again(world, during):
    there = world()

    async def test():
        async with there.up():
            await start(there, pod("llm", cores=6, memory=16))
            there.node.registered.clear()
            there.node.tell()
            await until(lambda: there.node.made == ["k8s-0-c0", "k8s-0-c0"])
            assert there.node.registered["k8s-0-c0"].labels["pod"] == "llm"

    during(test())


def test_a_pod_that_is_gone_leaves_nothing_once_it_has_been_gone_for_a_while(world, during):
    there = world(forget_after=0.2)

    async def test():
        async with there.up():
            llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
            await there.kubelet.start_container(llm, "main")
            there.node.tenants["k8s-0-c0"] = 1
            there.kubelet.remove(llm)
            there.node.tell()
            await asyncio.sleep(0.5)
            there.node.tell()
            await asyncio.sleep(0.2)
            assert there.node.deleted == []  # a process is on it still
            there.node.tenants.clear()
            there.node.tell()
            # The folder goes once the daemon has said that the vNPU has.
            await until(lambda: not (there.config.pods_dir / "k8s-0-c0").exists())
            assert there.node.deleted == ["k8s-0-c0"]

    during(test())


def test_a_kubelet_that_knows_no_pods_yet_costs_nobody_a_vnpu(world, during):
    there = world(forget_after=30)

    async def test():
        async with there.up():
            await start(there, pod("llm", cores=6, memory=16))
            pods, there.kubelet.pods = there.kubelet.pods, []
            await there.kubelet.restart(there.resources)
            there.node.tell()
            await asyncio.sleep(0.3)
            assert there.node.deleted == []
            there.kubelet.pods = pods
            assert there.kubelet.has_its_own(pods[0])

    during(test())


def test_the_next_pod_on_the_same_units_gets_a_vnpu_of_its_own(world, during):
    there = world()

    async def test():
        async with there.up():
            old = await there.kubelet.admit(pod("old", cores=24, memory=64))
            await there.kubelet.start_container(old, "main")
            state = there.config.pods_dir / "k8s-0-c0" / "run" / "softnpu" / "device0"
            state.write_text("of the old one")
            there.kubelet.remove(old)
            await start(there, pod("new", cores=24, memory=64))
            (vnpu,) = there.node.registered.values()
            assert (vnpu.labels["pod"], there.node.deleted) == ("new", ["k8s-0-c0"])
            assert not state.exists()

    during(test())


def test_a_pod_of_the_same_name_begins_with_what_it_asked_for(world, during):
    there = world()

    async def test():
        async with there.up():
            old = await there.kubelet.admit(pod("set-0", cores=6, memory=16))
            await there.kubelet.start_container(old, "main")
            there.node.connect().set_quota("k8s-0-c0", cores=9, memory_bytes=16 * 2**30)
            (before,) = there.node.registered.values()
            there.kubelet.remove(old)
            await start(there, pod("set-0", cores=6, memory=16))
            (vnpu,) = there.node.registered.values()
            assert (vnpu.name, vnpu.quota.cores) == ("k8s-0-c0", 6)
            assert vnpu.id != before.id, "annotations of the pod before are not its own"

    during(test())


def test_a_pod_gets_in_though_vnpus_of_pods_before_it_are_still_there(world, during):
    there = world()

    async def test():
        async with there.up():
            for name in ("a", "b", "c"):
                await start(there, pod(name, cores=8, memory=20))
            for old in [*there.kubelet.pods[:2]]:
                there.kubelet.remove(old)
            await start(there, pod("new", cores=16, memory=40))
            assert {vnpu.labels["pod"]: vnpu.quota.cores for vnpu in there.node.registered.values()} == {
                "c": 8,
                "new": 16,
            }

    during(test())


def test_a_container_that_starts_again_keeps_the_quota_it_was_given_live(world, during):
    there = world()

    async def test():
        async with there.up():
            llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
            await there.kubelet.start_container(llm, "main")
            there.node.connect().set_quota("k8s-0-c0", cores=9, memory_bytes=2**30)
            await there.kubelet.start_container(llm, "main")
            assert there.node.registered["k8s-0-c0"].quota.cores == 9

    during(test())


def test_other_devices_than_before_are_offered_as_they_are(world, during):
    there = world()

    async def test():
        async with there.kubelet:
            async with there.plugin():
                there.node.rename_devices()
                there.node.tell()
                await until(lambda: there.kubelet.allocatable(CORES) == 0)
            async with there.plugin():
                ids = {f"{there.node.device(0).uuid}-c{number}" for number in range(24)}
                await until(lambda: there.kubelet.lists(CORES)[0].keys() == ids)

    during(test())
