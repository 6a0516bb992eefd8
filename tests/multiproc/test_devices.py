# SPDX-License-Identifier: Apache-2.0
"""vNPUs over several devices, and all that a quota may say."""

from __future__ import annotations

import json
import os

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually

from flexnpu.errors import InUse, InvalidValue, OverQuota


@pytest.fixture
def pair(quiet_node: Node) -> Node:
    """Two devices of 24 cores."""
    quiet_node.start("--devices", "2")
    return quiet_node


def test_a_vnpu_is_granted_and_applied_on_all_of_its_devices(pair: Node):
    client = pair.client()
    client.create_vnpu("a", cores=12, memory_bytes=4 * GIB, device=[1, 0])
    tenant = FakeTenant.attach(pair.attach_socket, "a")
    assert [tenant.physical(ordinal) for ordinal in range(tenant.device_count)] == [1, 0]
    assert [tenant.quota_on(ordinal)[1] for ordinal in (0, 1)] == [12, 12]
    assert not client.set_quota("a", cores=6, wait=0.2).applied
    tenant.acknowledge(0)
    assert not client.set_quota("a", cores=6, wait=0.2).applied
    (seen,) = client.tenants()
    assert (seen.applied, seen.applied_revision) == (False, 1)
    tenant.acknowledge(1)
    eventually(lambda: client.vnpu("a").applied)
    (seen,) = client.tenants()
    assert (seen.applied, seen.applied_revision) == (True, 2)
    tenant.close()


def test_memory_is_counted_on_each_device(pair: Node):
    client = pair.client()
    client.create_vnpu("a", cores=12, memory_bytes=4 * GIB, device=[0, 1])
    tenant = FakeTenant.attach(pair.attach_socket, "a")
    tenant.use_memory(GIB, 0), tenant.use_memory(3 * GIB, 1)
    assert [(use.device, use.memory_used, use.memory_peak) for use in client.vnpu("a").use] == [
        (0, GIB, GIB),
        (1, 3 * GIB, 3 * GIB),
    ]
    assert client.tenants()[0].memory_used == 4 * GIB
    with pytest.raises(InUse, match="3 GiB"):
        client.set_quota("a", memory_bytes=2 * GIB)
    tenant.close()
    eventually(lambda: [use.memory_used for use in client.vnpu("a").use] == [0, 0])


def test_a_dead_tenant_frees_its_cores_on_all_devices(pair: Node):
    client = pair.client()
    client.create_vnpu("a", cores=20, memory_bytes=GIB, device=[0, 1])
    deaf = FakeTenant.attach(pair.attach_socket, "a")
    client.set_quota("a", cores=4)
    for index in (0, 1):
        client.create_vnpu(f"b{index}", cores=20, memory_bytes=GIB, device=index)
    assert [client.vnpu(f"b{index}").granted_cores for index in (0, 1)] == [0, 0]
    deaf.close()
    eventually(lambda: [client.vnpu(f"b{index}").granted_cores for index in (0, 1)] == [20, 20])


def test_a_vnpu_of_several_devices_is_all_or_nothing(pair: Node):
    client = pair.client()
    client.create_vnpu("full", cores=24, memory_bytes=GIB, device=1)
    with pytest.raises(OverQuota, match="device 1"):
        client.create_vnpu("a", cores=1, memory_bytes=GIB, device=[0, 1])
    with pytest.raises(InvalidValue, match="each once"):
        client.create_vnpu("a", cores=1, memory_bytes=GIB, device=[0, 0])
    assert [device.cores_free for device in client.devices()] == [24, 0]


def test_its_tenants_come_back_on_all_devices(pair: Node):
    pair.client().create_vnpu("a", cores=12, memory_bytes=4 * GIB, device=[1, 0])
    tenant = FakeTenant.attach(pair.attach_socket, "a")
    tenant.use_memory(GIB, 1)
    pair.kill()
    pair.start("--devices", "2")
    tenant = tenant.come_back(pair.attach_socket)
    client = pair.client()
    assert [(use.device, use.memory_used) for use in client.vnpu("a").use] == [(1, 0), (0, GIB)]
    assert [tenant.physical(ordinal) for ordinal in range(2)] == [1, 0]
    tenant.close()


def test_the_command_line_says_all_of_a_quota(pair: Node):
    limits = ["--burst-cores", "8", "--vector-cores", "6", "--share", "12.5%", "--fixed-share", "--priority", "2"]
    code, out, errors = pair.flexnpu("create", "a", "--cores", "4", "--memory", "1GiB", "--device", "0,1", *limits)
    assert (code, out) == (0, "created a: 4 cores, 1 GiB on device 0, 1\n"), errors
    vnpu = pair.client().vnpu("a")
    shown = (vnpu.burst_cores, vnpu.vector_cores, vnpu.share_percent, vnpu.fixed_share, vnpu.priority, vnpu.devices)
    assert shown == (8, 6, 12.5, True, 2, [0, 1])
    changes = ["--burst-cores", "none", "--vector-cores", "none", "--share", "25", "--elastic-share", "--priority", "0"]
    code, out, errors = pair.flexnpu("set", "a", *changes, "--json")
    assert code == 0, errors
    assert json.loads(out)["desired_revision"] == 2
    vnpu = pair.client().vnpu("a")
    shown = (vnpu.burst_cores, vnpu.vector_cores, vnpu.share_percent, vnpu.fixed_share, vnpu.priority)
    assert shown == (4, None, 25.0, False, 0)
    assert pair.flexnpu("set", "a", "--share", "none")[0] == 0
    assert pair.client().vnpu("a").share_percent is None


def test_ps_shows_limits_graphs_and_steps_in_lines_that_are_not_folded(pair: Node):
    pair.client().create_vnpu("a", cores=4, memory_bytes=GIB, device=[0, 1], burst_cores=8, share_percent=25)
    tenant = FakeTenant.attach(pair.attach_socket, "a")
    tenant.capture(0, 1, 4, 8, 123)
    tenant.iterate(6, 2, 16, 16, 40_000, 4096, 1)
    code, out, errors = pair.flexnpu("ps")
    assert code == 0, errors
    rows = [line.split() for line in out.splitlines()]
    (vnpu,) = [row for row in rows if row[:2] == ["a", "0,1"]]
    assert vnpu[2:5] == ["4", "to", "8"]
    assert "25%" in vnpu
    (graph,) = [row for row in rows if row[:2] == [str(os.getpid()), "a"] and "123" in row]
    assert graph[2:] == ["1", "4", "8", "123"]
    assert "decode 16 tokens of 16, context up to 4096" in out
    tenant.report[64:72] = (7).to_bytes(8, "little")  # a step that is being written says nothing
    assert pair.client().tenants()[0].iteration is None
    tenant.close()
