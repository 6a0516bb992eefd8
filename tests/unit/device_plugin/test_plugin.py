# SPDX-License-Identifier: Apache-2.0
"""A kubelet, the plugin and a daemon: what pods get, and whose it is."""

from __future__ import annotations

import asyncio

import pytest
from fake_kubelet import AdmissionError, Container, StartError, pod, until

GIB = 2**30
CORES, MEMORY, VNPU, DEVICE = (f"flexnpu.io/{short}" for short in ("cores", "memory", "vnpu", "device"))


def quotas(node) -> dict[str, tuple[tuple[int, ...], int, int]]:
    """By pod: devices, cores and GiB."""
    return {
        vnpu.labels["pod"]: (vnpu.devices, vnpu.quota.cores, vnpu.quota.memory_bytes // GIB)
        for vnpu in node.registered.values()
    }


async def start(there, *pods) -> None:
    for each in pods:
        await there.kubelet.start_container(await there.kubelet.admit(each), "main")


def test_a_pod_with_six_cores_and_16_gib_gets_its_own_vnpu(world, during):
    there = world()

    async def test():
        async with there.up():
            llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
            started = await there.kubelet.start_container(llm, "main")
            (vnpu,) = there.node.registered.values()
            assert (vnpu.devices, vnpu.quota.cores, vnpu.quota.memory_bytes) == ((0,), 6, 16 * GIB)
            assert vnpu.labels.items() >= {"namespace": "default", "pod": "llm", "container": "main"}.items()
            assert started.mounts["/run/flexnpu"] == str(vnpu.attach_dirs[0])
            assert started.envs["FLEXNPU_SOCKET"] == "/run/flexnpu/attach.sock"
            assert there.kubelet.faults == []

    during(test())


@pytest.mark.parametrize("seed", range(3))  # in which order the kubelet goes through the resources
def test_eight_pods_fill_two_devices_and_the_ninth_is_not_admitted(world, during, seed):
    there = world(seed=seed)
    there.node.device_count = 2

    async def test():
        async with there.up():
            assert (there.kubelet.allocatable(CORES), there.kubelet.allocatable(MEMORY)) == (48, 128)
            await start(there, *(pod(f"p{i}", cores=6, memory=16) for i in range(8)))
            assert sorted(quotas(there.node).values()) == [((0,), 6, 16)] * 4 + [((1,), 6, 16)] * 4
            with pytest.raises(AdmissionError, match=r"Requested: \d+, Available: 0"):
                await there.kubelet.admit(pod("ninth", cores=6, memory=16))
            assert there.kubelet.faults == []

    during(test())


@pytest.mark.parametrize("podresources", ["v1", "v1alpha1"])
def test_two_pending_pods_do_not_swap_what_they_are(world, during, podresources):
    there = world(podresources)

    async def test():
        async with there.up():
            one = await there.kubelet.admit(pod("one", cores=2, memory=4))
            other = await there.kubelet.admit(pod("other", cores=8, memory=32))
            first = await there.kubelet.start_container(other, "main")  # the later one starts first
            second = await there.kubelet.start_container(one, "main")
            assert quotas(there.node) == {"one": ((0,), 2, 4), "other": ((0,), 8, 32)}
            folders = {vnpu.labels["pod"]: str(vnpu.attach_dirs[0]) for vnpu in there.node.registered.values()}
            assert (first.mounts["/run/flexnpu"], second.mounts["/run/flexnpu"]) == (folders["other"], folders["one"])

    during(test())


def test_without_the_kubelets_word_nobody_is_guessed(world, during):
    there = world(podresources=None)

    async def test():
        async with there.up():
            llm = await there.kubelet.admit(pod("llm", cores=2, memory=4))
            with pytest.raises(StartError, match="the kubelet does not tell who holds what"):
                await there.kubelet.start_container(llm, "main")
            assert there.node.registered == {}

    during(test())


@pytest.mark.parametrize("seed", range(4))
def test_slot_cores_and_memory_of_one_container_are_one_vnpu(world, during, seed):
    there = world(seed=seed)
    there.node.device_count = 2

    async def test():
        async with there.up():
            await start(there, pod("a", vnpu=1, cores=6, memory=16), pod("b", vnpu=1), pod("c", vnpu=1, memory=20))
            assert quotas(there.node) == {"a": ((0,), 6, 16), "b": ((0,), 3, 8), "c": ((0,), 3, 20)}
            both = next(vnpu for vnpu in there.node.registered.values() if vnpu.labels["pod"] == "a")
            assert len(both.attach_dirs) == 2  # whichever of the two answers the kubelet takes
            assert there.kubelet.faults == []

    during(test())


def test_a_vnpu_over_several_devices_has_its_memory_on_each_and_not_summed(world, during):
    there = world(placement="spread", rings=((0, 2), (1, 3)))
    there.node.device_count = 4

    async def test():
        async with there.up():
            await start(there, pod("tp", vnpu=2), pod("sized", vnpu=2, cores=12, memory=32))
            assert quotas(there.node) == {"tp": ((0, 2), 3, 8), "sized": ((1, 3), 6, 16)}

    during(test())


def test_what_no_device_has_alone_is_on_whole_devices_of_a_ring(world, during):
    there = world(rings=((0, 2), (1, 3)))
    there.node.device_count = 4

    async def test():
        async with there.up():
            await start(there, pod("whole", device=2), pod("wide", cores=48, memory=128))
            assert quotas(there.node) == {"whole": ((0, 2), 24, 64), "wide": ((1, 3), 24, 64)}

    during(test())


def test_what_one_resource_takes_the_others_lose(world, during):
    there = world()

    async def test():
        def offered() -> tuple[int, ...]:
            return tuple(map(there.kubelet.allocatable, (VNPU, CORES, MEMORY, DEVICE)))

        async with there.up():
            assert offered() == (8, 24, 64, 1)
            slot = await there.kubelet.admit(pod("slot", vnpu=2))
            await until(lambda: offered() == (8, 18, 48, 0))
            cores = await there.kubelet.admit(pod("cores", cores=17, memory=40))
            await until(lambda: offered() == (2, 18, 48, 0))
            for each in (slot, cores):
                there.kubelet.remove(each)

    during(test())


def test_what_runs_on_the_node_beside_kubernetes_is_not_offered(world, during):
    there = world()

    async def test():
        async with there.up():
            client = there.node.connect()
            client.create_vnpu("by-hand", device=0, cores=10, memory_bytes=30 * GIB)
            wanted = {CORES: 14, MEMORY: 34, VNPU: 4, DEVICE: 0}
            await until(lambda: {each: there.kubelet.allocatable(each) for each in wanted} == wanted)
            client.delete_vnpu("by-hand")
            await until(lambda: there.kubelet.allocatable(CORES) == 24 and there.kubelet.allocatable(DEVICE) == 1)

    during(test())


def test_cores_that_a_running_pod_was_given_live_are_offered_to_nobody(world, during):
    there = world()

    async def test():
        async with there.up():
            await start(there, pod("llm", cores=6, memory=16))
            (name,) = there.node.registered
            there.node.connect().set_quota(name, cores=10, memory_bytes=16 * GIB)
            await until(lambda: there.kubelet.allocatable(CORES) == 6 + 14)
            there.node.connect().set_quota(name, cores=2, memory_bytes=16 * GIB)
            await until(lambda: there.kubelet.allocatable(CORES) == 24)  # its six are its own

    during(test())


@pytest.mark.parametrize("seed", range(4))
def test_a_pod_that_fits_no_device_is_told_what_is_free_and_the_next_try_goes_elsewhere(world, during, seed):
    there = world(seed=seed)
    there.node.device_count = 2

    async def test():
        async with there.up():
            await start(there, pod("a", cores=4, memory=48))
            refused = []
            for again in range(3):  # as its Deployment would
                try:
                    await start(there, pod(f"d{again}", cores=6, memory=30))
                    break
                except AdmissionError as error:
                    refused.append(str(error))
            free = "free are 20 cores and 16 GiB on device 0; 24 cores and 64 GiB on device 1"
            assert all(f"6 cores and 30 GiB do not fit device 0; {free}" in each for each in refused)
            assert len(refused) <= 1
            assert quotas(there.node)[f"d{again}"] == ((1,), 6, 30)

    during(test())


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"memory": 4}, "has memory of NPUs and no cores; ask for cores as well"),
        ({"cores": 4}, "has cores of NPUs and no memory; ask for memory as well"),
        ({"device": 1, "memory": 4}, "a whole device comes with all of its cores"),
    ],
)
def test_a_container_that_asks_for_no_vnpu_is_told_when_it_starts(world, during, asked, told):
    there = world()

    async def test():
        async with there.up():
            try:
                wrong = await there.kubelet.admit(pod("wrong", **asked))
                with pytest.raises(StartError, match=told):
                    await there.kubelet.start_container(wrong, "main")
            except AdmissionError as error:  # the device is taken, so there is no memory: before the start
                assert "device" in asked
                assert "Available: 0" in str(error)
            assert there.node.registered == {}

    during(test())


def init(name: str, **resources: int) -> Container:
    return Container(name, {f"flexnpu.io/{short}": size for short, size in resources.items()}, init=True)


def main(name: str = "main", **resources: int) -> Container:
    return Container(name, {f"flexnpu.io/{short}": size for short, size in resources.items()})


@pytest.mark.parametrize(
    ("before", "own"),
    [
        ({"cores": 2, "memory": 4}, (2, 4)),  # smaller than what comes after
        ({"cores": 24, "memory": 64}, (24, 64)),  # larger: the whole device
        ({"cores": 6, "memory": 16}, (6, 16)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_an_init_container_has_a_vnpu_of_its_own_size_and_the_next_one_of_its_own(world, during, before, own, seed):
    there = world(seed=seed)

    async def test():
        async with there.up():
            both = await there.kubelet.admit(pod("llm", init("warm", **before), main(cores=6, memory=16)))
            await there.kubelet.start_container(both, "warm")
            (vnpu,) = there.node.registered.values()
            assert (vnpu.quota.cores, vnpu.quota.memory_bytes // GIB) == own
            assert vnpu.labels["pod"] == "llm"
            there.node.tell()
            await asyncio.sleep(0.1)  # and nothing is made for who has not begun
            await there.kubelet.start_container(both, "warm")
            await there.kubelet.start_container(both, "main")
            running = [each for each in there.node.registered.values() if each.labels["container"] == "main"]
            assert [(each.quota.cores, each.quota.memory_bytes // GIB) for each in running][-1] == (6, 16)

    during(test())


@pytest.mark.parametrize("seed", range(3))
def test_what_an_init_container_had_goes_once_those_after_it_run(world, during, seed):
    there = world(seed=seed, forget_after=0.2)

    async def test():
        async with there.up():
            llm = pod(
                "llm", init("warm", cores=10, memory=20), main(cores=6, memory=16), main("side", cores=3, memory=4)
            )
            await there.kubelet.admit(llm)
            for name in ("warm", "main", "side"):
                await there.kubelet.start_container(llm, name)
            await until(lambda: sorted(vnpu.quota.cores for vnpu in there.node.registered.values()) == [3, 6])
            await until(lambda: there.kubelet.allocatable(CORES) == 24)
            warm = await there.kubelet.start_container(llm, "warm")  # its pod's sandbox was lost
            sizes = {str(vnpu.attach_dirs[0]): vnpu.quota.cores for vnpu in there.node.registered.values()}
            assert sizes[warm.mounts["/run/flexnpu"]] == 10

    during(test())


def test_an_init_container_alone_gets_its_vnpu_though_nobody_says_whose_it_is(world, during):
    there = world()

    async def test():
        async with there.up():
            only = await there.kubelet.admit(pod("convert", init("warm", cores=2, memory=4), main()))
            await there.kubelet.start_container(only, "warm")
            (vnpu,) = there.node.registered.values()
            assert (vnpu.quota.cores, vnpu.quota.memory_bytes) == (2, 4 * GIB)
            assert "pod" not in vnpu.labels

    during(test())


def test_containers_side_by_side_have_a_vnpu_each(world, during):
    there = world()

    async def test():
        async with there.up():
            both = await there.kubelet.admit(
                pod("pair", main("prefill", cores=8, memory=16), main("decode", cores=12, memory=40), main("log"))
            )
            for name in ("decode", "prefill", "log"):
                await there.kubelet.start_container(both, name)
            found = {vnpu.labels["container"]: vnpu.quota.cores for vnpu in there.node.registered.values()}
            assert found == {"prefill": 8, "decode": 12}

    during(test())


def test_numa_nodes_and_ids_are_those_of_the_devices(world, during):
    there = world()
    there.node.device_count, there.node.numa = 2, (0, None)

    async def test():
        async with there.up():
            told = there.kubelet.endpoints[CORES]
            uuids = [there.node.device(index).uuid for index in range(2)]
            assert {*told.lists[0]} == {f"{uuid}-c{number}" for uuid in uuids for number in range(24)}
            assert told.topology[f"{uuids[0]}-c0"] == [0]
            assert told.topology[f"{uuids[1]}-c0"] == []
            assert all(len(id_) <= 63 for id_ in told.lists[0])

    during(test())
