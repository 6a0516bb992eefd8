# SPDX-License-Identifier: Apache-2.0
"""A hostile tenant harms only itself: the others attach, change and leave beside it, and nothing of it stays."""

from __future__ import annotations

import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_tenant import HELLO, RETURNING, FakeTenant, RefusedError, connect, hello
from local_node import GIB, Node, eventually

FLOOD = """
import json, socket, sys
sys.path.insert(0, {support!r})
from fake_tenant import FakeTenant, RefusedError, connect, hello
print(json.dumps({{}}), flush=True)
while True:
    {body}
"""
TALKS = "c = connect({path!r}); c.send(hello('bad')); c.setblocking(True)\n    while c.send(b'x' * 60): pass"
COMES_AND_GOES = "c = connect({path!r}); c.send(hello('bad')); c.recv(300); c.close()"
NEVER_SPEAKS = "held = globals().setdefault('held', []); held.append(connect({path!r})); held[-500:-400] = []"
GARBAGE = "c = connect({path!r}); c.send(b'\\xff' * 88); c.close()"


@pytest.fixture
def victim(node: Node) -> Node:
    """A daemon with a vNPU of a hostile tenant and one of a good one."""
    node.client().create_vnpu("bad", cores=4, memory_bytes=GIB)
    node.client().create_vnpu("good", cores=4, memory_bytes=GIB)
    return node


@pytest.fixture
def descriptors(victim: Node) -> Iterator[None]:
    """The daemon has in the end as many as before."""
    FakeTenant.attach(victim.attach_socket, "good").close()
    eventually(lambda: victim.client().tenants() == [])
    assert victim.daemon is not None
    place = Path(f"/proc/{victim.daemon.pid}/fd")
    before = len(list(place.iterdir()))
    yield
    eventually(lambda: victim.client().tenants() == [])
    eventually(lambda: len(list(place.iterdir())) <= before + 1)


def check_good(node: Node, cores: int = 6) -> None:
    """Somebody else comes, is changed and leaves."""
    tenant = FakeTenant.attach(node.attach_socket, "good")
    client = node.client()
    revision = client.set_quota("good", cores=cores).desired_revision
    tenant.acknowledge()
    eventually(lambda: client.vnpu("good").applied_revision == revision)
    assert tenant.quota[1] == cores
    tenant.close()


@pytest.mark.parametrize("body", [TALKS, COMES_AND_GOES, NEVER_SPEAKS, GARBAGE])
def test_a_flood_leaves_others_their_turn(victim: Node, descriptors: None, body: str):
    support = str(Path(__file__).parents[1] / "support")
    body = body.format(path=victim.attach_socket)
    # One that is hung up on goes on all the same.
    loop = f"try:\n        {body.replace(chr(10), chr(10) + '    ')}\n    except (OSError, RefusedError): pass"
    script = FLOOD.format(support=support, body=loop)
    flood = victim._run([sys.executable, "-c", script])
    flood.line()
    time.sleep(0.5)
    for cores in (5, 6, 7):
        check_good(victim, cores)
    assert flood.process.poll() is None, flood.end()
    flood.kill()
    check_good(victim, 8)


def test_garbage_of_any_kind_is_survived(victim: Node, descriptors: None):
    chance = random.Random(7)
    for _ in range(300):
        payload = bytearray(hello("bad", flags=chance.choice((0, RETURNING))))
        for _ in range(chance.randrange(4)):
            payload[chance.randrange(len(payload))] = chance.randrange(256)
        payload = payload[: chance.choice((len(payload), chance.randrange(len(payload))))]
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(chance.randrange(5))]
        connection = connect(victim.attach_socket)
        try:
            socket.send_fds(connection, [bytes(payload)], fds)
            if chance.random() < 0.7:
                connection.recv(300)
        except OSError:
            pass
        connection.close()
        for fd in fds:
            os.close(fd)
    check_good(victim)


def test_descriptors_that_nobody_asked_for_are_refused_and_closed(victim: Node, descriptors: None):
    connection = connect(victim.attach_socket)
    socket.send_fds(connection, [hello("bad")], [0, 1, 2])
    with pytest.raises(RefusedError, match="not a hello"):
        FakeTenant.welcomed(connection, "bad")
    tenant = FakeTenant.attach(victim.attach_socket, "bad")
    for _ in range(8):
        socket.send_fds(tenant.connection, [b"more"], [0])
    check_good(victim)
    assert [each.vnpu for each in victim.client().tenants()] == ["bad"]
    tenant.close()


def test_one_that_goes_on_talking_is_hung_up_on(victim: Node, descriptors: None):
    tenant = FakeTenant.attach(victim.attach_socket, "bad")
    with pytest.raises(OSError):
        for _ in range(100_000):
            tenant.connection.send(b"and another thing")
    assert any("talks after its welcome" in event.text for event in known_events(victim))
    check_good(victim)
    tenant.close()


def test_the_handshake_of_another_is_of_no_use(victim: Node, descriptors: None):
    tenant = FakeTenant.attach(victim.attach_socket, "good")
    tenant.use_memory(GIB // 2)
    replay = HELLO.pack(*HELLO.unpack(hello("good", flags=RETURNING, slot=tenant.slot)))
    connection = connect(victim.attach_socket)
    socket.send_fds(connection, [replay], tenant.fds)
    with pytest.raises(RefusedError, match="has no lease"):
        FakeTenant.welcomed(connection, "good")
    (seen,) = victim.client().tenants()
    assert seen.memory_used == GIB // 2
    tenant.close()


def test_a_ledger_full_of_nonsense_is_that_vnpus_own_trouble(victim: Node, descriptors: None):
    bad = FakeTenant.attach(victim.attach_socket, "bad")
    bad.report[:] = os.urandom(len(bad.report))
    bad.ledger[:] = b"\xff" * len(bad.ledger)
    assert victim.flexnpu("ps")[0] == 0
    bad.close()
    check_good(victim)
    assert victim.client().vnpu("good").use[0].memory_used == 0


def known_events(node: Node):
    found = []
    for event in node.client().events():
        found.append(event)
        if event.kind == "refused":
            return found
    return found
