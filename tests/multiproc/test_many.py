# SPDX-License-Identifier: Apache-2.0
"""As many tenants as a node takes: 63 on each of 16 devices."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_tenant import FakeTenant, connect, hello, receive
from local_node import GIB, Node, eventually

DEVICES, EACH = 16, 63


@pytest.fixture
def descriptors() -> Iterator[None]:
    """This process plays all tenants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3 * DEVICES * EACH:
        pytest.skip(f"{hard} descriptors are too few")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))  # what most systems give, and the daemon inherits
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cpu_seconds(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def test_a_thousand_tenants_attach_within_a_second_of_the_daemons_time(descriptors: None, quiet_node: Node):
    daemon = quiet_node.start("--devices", str(DEVICES))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client = quiet_node.client()
    for device in range(DEVICES):
        client.create_vnpu(f"v{device}", cores=4, memory_bytes=GIB, device=device)
    before, began, connections = cpu_seconds(daemon.pid), time.monotonic(), []
    for _ in range(EACH):
        for device in range(DEVICES):
            connection = connect(quiet_node.attach_socket)
            connection.send(hello(f"v{device}"))
            for fd in receive(connection)[1]:
                os.close(fd)
            connections.append(connection)
    used, took = cpu_seconds(daemon.pid) - before, time.monotonic() - began
    print(f"{len(connections)} attached in {took:.2f} s, {used / len(connections) * 1e6:.0f} us of the daemon each")
    assert used < 5  # a quarter of a second on an idle machine
    assert [vnpu.tenants for vnpu in client.vnpus()] == [EACH] * DEVICES
    for connection in connections:
        connection.close()
    eventually(lambda: sum(vnpu.tenants for vnpu in client.vnpus()) == 0)


def test_a_log_that_nobody_reads_does_not_stop_the_daemon(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    for _ in range(1500):  # two lines each are more than a pipe holds, and it is read only at the end
        FakeTenant.attach(node.attach_socket, "a").close()
    eventually(lambda: node.client().tenants() == [])
    assert node.daemon is not None
    node.daemon.process.terminate()
    assert "left a" in node.daemon.end()[1]


def test_cores_of_a_dead_tenant_are_free_at_once(node: Node):
    client = node.client()
    client.create_vnpu("a", cores=24, memory_bytes=GIB)
    deaf = node.fake("a", "deaf")
    deaf.line()
    client.set_quota("a", cores=4)
    client.create_vnpu("b", cores=20, memory_bytes=GIB)
    waiting = connect(node.attach_socket)
    waiting.send(hello("b"))
    deaf.process.kill()
    began = time.monotonic()
    tenant = FakeTenant.welcomed(waiting, "b")
    print(f"granted {1e3 * (time.monotonic() - began):.2f} ms after the kill")
    assert tenant.quota[1] == 20
    tenant.close()
