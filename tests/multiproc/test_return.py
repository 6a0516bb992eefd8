# SPDX-License-Identifier: Apache-2.0
"""A daemon that is killed under its tenants is followed by one to which they come back, with all that they counted."""

from __future__ import annotations

import os
import sys

import pytest
from fake_tenant import FakeTenant, RefusedError
from local_node import GIB, Node, Program, eventually

from flexnpu.paths import library_dir


@pytest.fixture
def restarted(node: Node) -> tuple[Node, FakeTenant]:
    """A tenant of this process, and a daemon that has not seen it yet."""
    node.client().create_vnpu("a", cores=4, memory_bytes=4 * GIB)
    tenant = FakeTenant.attach(node.attach_socket, "a")
    tenant.use_memory(GIB)
    node.kill()
    node.start()
    return node, tenant


def used(node: Node) -> int:
    return node.client().vnpu("a").use[0].memory_used


def lines_of(*programs: Program) -> list[int]:
    return [program.line()["slot"] for program in programs]


def test_tenants_come_back_with_their_slots_and_their_memory(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=4 * GIB)
    first, second = node.fake("a", "loyal", "hog", str(GIB)), node.fake("a", "loyal", "hog", str(2 * GIB))
    slots = lines_of(first, second)
    eventually(lambda: used(node) == 3 * GIB)
    node.kill()
    node.start()
    assert lines_of(first, second) == slots
    tenants = {tenant.pid: tenant for tenant in node.client().tenants()}
    assert {pid: (tenant.present, tenant.memory_used) for pid, tenant in tenants.items()} == {
        first.pid: (True, GIB),
        second.pid: (True, 2 * GIB),
    }
    assert used(node) == 3 * GIB
    eventually(lambda: all(tenant.applied for tenant in node.client().tenants()))
    second.kill()
    eventually(lambda: used(node) == GIB)


def test_who_died_while_no_daemon_lived_is_taken_out_of_the_ledger(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=4 * GIB)
    dies, stays = node.fake("a", "loyal", "hog", str(2 * GIB)), node.fake("a", "loyal", "hog", str(GIB))
    lines_of(dies, stays)
    eventually(lambda: used(node) == 3 * GIB)
    node.kill()
    dies.kill()
    node.start()
    lines_of(stays)
    eventually(lambda: used(node) == GIB)
    assert [tenant.pid for tenant in node.client().tenants()] == [stays.pid]


def test_a_fresh_tenant_waits_for_those_who_bring_the_ledger(restarted: tuple[Node, FakeTenant]):
    node, tenant = restarted
    fresh = node.fake("a")
    back = tenant.come_back(node.attach_socket)
    assert fresh.line()["slot"] != back.slot
    assert used(node) == GIB
    assert len(node.client().tenants()) == 2
    back.close()


def test_a_fresh_tenant_does_not_wait_for_ever(restarted: tuple[Node, FakeTenant]):
    node, tenant = restarted
    code, errors = node.fake("a").end()
    assert code == 1
    assert f"pid {os.getpid()} of vNPU a has not come back" in errors
    tenant.close()


def test_a_stranger_is_not_let_in_as_one_that_comes_back(restarted: tuple[Node, FakeTenant]):
    node, tenant = restarted
    child = os.fork()
    if child == 0:  # the same descriptors and slot, but another process
        try:
            tenant.come_back(node.attach_socket)
        except RefusedError as refused:
            os._exit(0 if "has no lease" in refused.args[2] and refused.args[0] == 4 else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(RefusedError, match="slot 1"):
        tenant.come_back(node.attach_socket, slot=1)
    back = tenant.come_back(node.attach_socket)
    with pytest.raises(RefusedError, match="has no lease"):  # it has come back already
        back.come_back(node.attach_socket)


def test_what_is_no_page_is_not_taken_back(restarted: tuple[Node, FakeTenant]):
    node, tenant = restarted
    null = os.open("/dev/null", os.O_RDWR)
    plain = os.memfd_create("unsealed")
    os.ftruncate(plain, 4096)
    report, ledger = tenant.fds
    for fds in ([null, null], [ledger, report], [report, report], [plain, ledger], [report, plain]):
        with pytest.raises(RefusedError, match="not a page of this version; restart"):
            tenant.come_back(node.attach_socket, fds=fds)
    for fds in ([], [report], [report, ledger, report]):
        with pytest.raises(RefusedError, match="not a hello"):
            tenant.come_back(node.attach_socket, fds=fds)
    tenant.come_back(node.attach_socket).close()
    os.close(null), os.close(plain)


def test_all_who_come_back_bring_the_same_ledger(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=4 * GIB)
    node.client().create_vnpu("b", cores=4, memory_bytes=4 * GIB)
    first, second, other = (FakeTenant.attach(node.attach_socket, name) for name in ("a", "a", "b"))
    node.kill()
    node.start()
    first = first.come_back(node.attach_socket)
    with pytest.raises(RefusedError, match="the ledger is not that of vNPU a"):
        second.come_back(node.attach_socket, fds=[second.fds[0], other.fds[1]])
    second.come_back(node.attach_socket).close()
    first.close(), other.close()


def test_a_vnpu_has_sixty_four_processes_at_most(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    tenants = [FakeTenant.attach(node.attach_socket, "a") for _ in range(64)]
    assert sorted(tenant.slot for tenant in tenants) == list(range(64))
    with pytest.raises(RefusedError, match="64 processes already"):
        FakeTenant.attach(node.attach_socket, "a")
    tenants[7].close()
    eventually(lambda: len(node.client().tenants()) == 63)
    tenants.append(FakeTenant.attach(node.attach_socket, "a"))
    assert tenants[-1].slot == 7
    for tenant in tenants:
        tenant.close()


def test_a_tenant_that_dies_within_a_call_is_settled_when_no_other_is_in_one(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=4 * GIB)
    dies, lives = FakeTenant.attach(node.attach_socket, "a"), FakeTenant.attach(node.attach_socket, "a")
    lives.use_memory(GIB)
    dies.charge_half(2 * GIB)
    lives.leave_in_flight(1)
    dies.close()
    eventually(lambda: len(node.client().tenants()) == 1)
    assert used(node) == 3 * GIB
    lives.leave_in_flight(0)
    eventually(lambda: used(node) == GIB)
    lives.close()


# It asks for its device when it is told to.
ASKS = """
import ctypes
runtime = ctypes.CDLL("libascendcl.so")
print("{}", flush=True)
input()
status = runtime.aclInit(None)
print('{"status": %d}' % status, flush=True)
"""


def a_program_that_will_ask(node: Node, patience: str):
    """Started under a daemon that is killed before the program asks for its device."""
    node.env["FLEXNPU_LIB_DIR"] = str(library_dir())
    node.env["FLEXNPU_DAEMON_WAIT"] = patience
    node.start()
    options = ["--name", "a", "--cores", "4", "--memory", "1GiB"]
    program = node.program("run", *options, "--", sys.executable, "-c", ASKS)
    program.line()
    node.kill()
    return program


@pytest.mark.parametrize("starts_first", [True, False])
def test_a_program_that_asks_while_the_daemon_starts_anew_waits_for_it(quiet_node: Node, starts_first: bool):
    program = a_program_that_will_ask(quiet_node, patience="60")
    if starts_first:
        quiet_node.launch()
    program.say("now")
    if not starts_first:
        quiet_node.start()
    assert program.line() == {"status": 0}
    assert program.end() == (0, "")


def test_a_program_without_a_daemon_fails_in_one_line_once_it_has_waited(quiet_node: Node):
    program = a_program_that_will_ask(quiet_node, patience="1")
    program.say("now")
    assert program.line() != {"status": 0}
    _, errors = program.end()
    assert errors.count("\n") == 1
    assert "is flexnpud running? It was waited for, for 1 s" in errors
