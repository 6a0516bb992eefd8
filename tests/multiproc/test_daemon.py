# SPDX-License-Identifier: Apache-2.0
"""The daemon's life: start, stop, killed, started again."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually

from flexnpu import _native
from flexnpu.client import Move


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_daemon_leaves_nothing_behind(quiet_node: Node, number: signal.Signals):
    daemon = quiet_node.start()
    assert (quiet_node.root / "softnpu").is_dir()
    assert quiet_node.root.stat().st_mode & 0o777 == 0o700
    daemon.process.send_signal(number)
    assert daemon.end()[0] == 0
    assert not quiet_node.root.exists()


def test_a_stopped_daemon_keeps_registered_vnpus_and_nothing_else(quiet_node: Node):
    daemon = quiet_node.start()
    quiet_node.client().create_vnpu("kept", cores=5, memory_bytes=GIB)
    quiet_node.client().set_quota("kept", cores=6, wait=1)
    daemon.process.terminate()
    assert daemon.end()[0] == 0
    assert [path.name for path in quiet_node.root.iterdir()] == ["registry.sqlite"]
    quiet_node.start()
    (vnpu,) = quiet_node.client().vnpus()
    assert (vnpu.name, vnpu.cores, vnpu.revision, vnpu.applied) == ("kept", 6, 2, True)


def test_a_daemon_that_is_stopped_under_a_live_tenant_leaves_the_next_one_what_it_must_know(node: Node):
    survivor = node.tenant("a", 18)
    survivor.line()
    assert node.daemon is not None
    node.daemon.process.terminate()
    assert node.daemon.end()[0] == 0
    assert sorted(path.name for path in node.root.iterdir()) == ["registry.sqlite", "softnpu"]
    daemon = node.start()
    assert [(tenant.pid, tenant.present) for tenant in node.client().tenants()] == [(survivor.pid, False)]
    survivor.kill()
    eventually(lambda: node.client().vnpus() == [])
    daemon.process.terminate()
    assert daemon.end()[0] == 0
    assert not node.root.exists()


def test_what_dies_together_with_the_daemon_leaves_nothing(node: Node):
    program = node.tenant("a", 18)
    program.line()
    assert node.daemon is not None
    node.daemon.process.send_signal(signal.SIGSTOP)
    program.kill()
    node.daemon.process.terminate()
    node.daemon.process.send_signal(signal.SIGCONT)
    assert node.daemon.end()[0] == 0
    assert not node.root.exists()


def test_a_second_daemon_is_refused_and_does_no_harm(node: Node):
    code, errors = node.launch().end()
    assert code == 4
    assert errors.startswith("flexnpud: error: another flexnpud (pid ")
    assert errors.count("\n") == 1
    assert node.client().version().page_version == _native.PAGE_VERSION


def test_a_killed_daemon_is_followed_by_another_in_the_same_directory(node: Node):
    node.client().create_vnpu("kept", cores=5, memory_bytes=GIB)
    program = node.tenant("gone", 4)
    program.line()
    assert node.daemon is not None
    node.daemon.kill()
    assert (node.root / "admin.sock").exists()
    program.kill()
    node.start()
    assert [vnpu.name for vnpu in node.client().vnpus()] == ["kept"]
    assert node.client().devices()[0].cores_free == 19


def test_tenants_keep_running_without_the_daemon_and_hold_what_they_had(node: Node):
    survivor = node.tenant("a", 18)
    survivor.line()
    node.client().create_vnpu("b", cores=6, memory_bytes=GIB)
    assert node.daemon is not None
    node.daemon.kill()
    assert survivor.process.poll() is None
    node.start()
    (away,) = node.client().tenants()
    assert (away.pid, away.present) == (survivor.pid, False)
    # What the survivor still uses is not given to others, whatever its quota says now.
    assert not node.client().rebalance([Move(vnpu="a", cores=6), Move(vnpu="b", cores=18)], wait=0.3).applied
    assert node.client().vnpu("b").granted_cores == 6
    survivor.kill()
    eventually(lambda: node.client().vnpu("b").granted_cores == 18)
    eventually(lambda: [vnpu.name for vnpu in node.client().vnpus()] == ["b"])


def test_a_tenant_that_comes_back_must_apply_before_others_grow(node: Node):
    client = node.client()
    client.create_vnpu("a", cores=18, memory_bytes=GIB)
    client.create_vnpu("b", cores=6, memory_bytes=GIB)
    first = FakeTenant.attach(str(node.root / "attach.sock"), "a")
    client.set_quota("a", cores=6)  # never applied by the tenant
    assert node.daemon is not None
    node.daemon.kill()
    node.start()
    client = node.client()
    assert not client.set_quota("b", cores=18, wait=0.2).applied
    back = FakeTenant.attach(str(node.root / "attach.sock"), "a")
    assert [tenant.present for tenant in client.tenants()] == [True]
    assert client.vnpu("b").granted_cores == 6
    back.acknowledge()
    eventually(lambda: client.vnpu("b").granted_cores == 18)
    first.close(), back.close()


def test_a_registry_from_the_future_is_refused(quiet_node: Node):
    quiet_node.root.mkdir()
    with sqlite3.connect(quiet_node.root / "registry.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    daemon = quiet_node.launch()
    code, errors = daemon.end()
    assert code == 4
    assert "schema 99" in errors
    assert errors.count("\n") == 1
    assert [path.name for path in quiet_node.root.iterdir()] == ["registry.sqlite"]


def test_vnpus_that_no_longer_fit_are_dropped_with_a_reason(node: Node):
    node.client().create_vnpu("wide", cores=24, memory_bytes=GIB)
    assert node.daemon is not None
    node.daemon.process.terminate()
    node.daemon.end()
    daemon = node.start("--soc", "Ascend310P3")
    assert node.client().vnpus() == []
    daemon.process.terminate()
    assert "dropped vNPU wide: it does not fit device 0" in daemon.end()[1]


def test_an_idle_daemon_uses_no_time(node: Node):
    node.client().create_vnpu("a", cores=18, memory_bytes=GIB)
    tenant = FakeTenant.attach(str(node.root / "attach.sock"), "a")
    assert node.daemon is not None
    stat = Path(f"/proc/{node.daemon.pid}/stat")

    def ticks() -> int:
        fields = stat.read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    time.sleep(0.3)
    before = ticks()
    time.sleep(1.5)
    # A tick is 10 ms; the HTTP server looks at its clock ten times a second.
    assert ticks() - before <= 0.05 * 1.5 * os.sysconf("SC_CLK_TCK")
    tenant.close()
