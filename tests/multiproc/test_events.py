# SPDX-License-Identifier: Apache-2.0
"""What happens on a node, as it happens."""

from __future__ import annotations

import os
from collections.abc import Iterator

from fake_tenant import FakeTenant
from local_node import GIB, Node

from flexnpu.client import Event


def until(events: Iterator[Event], kind: str) -> Event:
    """The next of that kind; a test that waits in vain is ended by its time limit."""
    return next(event for event in events if event.kind == kind)


def test_a_tenants_life_is_told(node: Node):
    client = node.client()
    client.create_vnpu("a", cores=4, memory_bytes=GIB)
    tenant = FakeTenant.attach(node.attach_socket, "a")
    reader = node.client()
    events = reader.events()
    attached = until(events, "attached")
    assert (attached.vnpu, attached.pid) == ("a", os.getpid())
    client.set_quota("a", cores=6)
    tenant.acknowledge()
    assert "revision 2 on a after" in until(events, "applied").text
    tenant.deny(3)
    denied = until(events, "denied")
    assert (denied.pid, denied.text.split()[:3]) == (os.getpid(), ["refused", "3", "allocations"])
    tenant.close()
    assert until(events, "left").pid == os.getpid()
    again = node.client().events(after=denied.id)
    assert next(again).kind == "left"
    reader.close()


def test_events_end_with_the_daemon(node: Node):
    client = node.client()
    client.create_vnpu("a", cores=4, memory_bytes=GIB)
    FakeTenant.attach(node.attach_socket, "a").close()
    events = node.client().events()
    until(events, "left")
    assert node.daemon is not None
    node.daemon.process.terminate()
    assert list(events) == []
    assert node.daemon.end()[0] == 0


def test_a_refusal_is_told_with_its_reason(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    program = node.fake("nobody")
    program.end()
    refused = until(node.client().events(), "refused")
    assert refused.pid == program.pid
    assert "'nobody' does not exist" in refused.text


def test_a_reader_of_a_daemon_that_was_killed_is_told_that_it_has_missed_something(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    created = until(node.client().events(), "created")
    assert (created.vnpu, created.revision) == ("a", 1)
    node.kill()
    node.start()
    reader = node.client()
    events = reader.events(after=created.id)
    resync = next(events)
    assert resync.kind == "resync"
    node.client().set_quota("a", cores=6, if_revision=1)
    changed = until(events, "changed")
    assert (changed.vnpu, changed.revision) == ("a", 2)
    assert changed.id > resync.id > created.id
    reader.close()
