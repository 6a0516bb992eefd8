# SPDX-License-Identifier: Apache-2.0
"""A kubelet, the plugin and a daemon: what pods get, and that it lasts."""

from __future__ import annotations

from fake_kubelet import pod

GIB = 2**30


def test_a_pod_with_six_cores_and_16_gib_gets_its_own_vnpu(world, during):
    there = world()

    async def test():
        await there.kubelet.start()
        async with there.plugin():
            llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
            started = await there.kubelet.start_container(llm, "main")
            (vnpu,) = there.node.registered.values()
            assert (vnpu.devices, vnpu.quota.cores, vnpu.quota.memory_bytes) == ((0,), 6, 16 * GIB)
            assert vnpu.labels.items() >= {"namespace": "default", "pod": "llm", "container": "main"}.items()
            assert started.mounts["/run/flexnpu"] == str(vnpu.attach_dirs[0])
            assert started.envs["FLEXNPU_SOCKET"] == "/run/flexnpu/attach.sock"
            assert there.kubelet.faults == []
        await there.kubelet.stop()

    during(test())
