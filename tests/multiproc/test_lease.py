# SPDX-License-Identifier: Apache-2.0
"""A tenant's life: attach, run, end; what it held goes back."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
from pathlib import Path

import pytest
from fake_tenant import HELLO, MAGIC, VERSION, FakeTenant, RefusedError
from local_node import FAKE_TENANT, GIB, Node, eventually


def attach(node: Node, vnpu: str, **how) -> FakeTenant:
    return FakeTenant.attach(str(node.root / "attach.sock"), vnpu, **how)


def test_a_program_finds_its_vnpu_and_the_daemon_knows_it(node: Node):
    program = node.tenant("prefill", 12, memory="8GiB")
    assert program.line() == {"pid": program.pid, "revision": 1, "cube": 12, "vector": 24, "slot": 0}
    seen = node.ps()
    (vnpu,) = seen["vnpus"]
    assert (vnpu["name"], vnpu["cores"], vnpu["memory_bytes"], vnpu["tenants"]) == ("prefill", 12, 8 * GIB, 1)
    assert [tenant["pid"] for tenant in seen["tenants"]] == [program.pid]
    assert seen["devices"][0]["cores_free"] == 12


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_program_gives_everything_back(node: Node, number: signal.Signals):
    program = node.tenant("prefill", 24)
    program.line()
    assert program.kill(number) == -number
    eventually(lambda: node.client().vnpus() == [])
    assert node.client().devices()[0].cores_free == 24
    assert node.client().tenants() == []


def test_the_exit_status_is_the_programs_own(node: Node):
    command = ["--cores", "1", "--memory", "1GiB", "--", sys.executable, "-c", "raise SystemExit(42)"]
    code, _, errors = node.flexnpu("run", *command)
    assert (code, errors) == (42, "")
    eventually(lambda: node.client().vnpus() == [])


def test_a_child_of_the_owner_keeps_the_vnpu_until_it_ends(node: Node):
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, {FAKE_TENANT!r}]); time.sleep(60)"
    program = node.program("run", "--name", "p", "--cores", "4", "--memory", "1GiB", "--", sys.executable, "-c", script)
    child = program.line()["pid"]
    program.process.kill()
    program.process.wait(20)
    eventually(lambda: not Path(f"/proc/{program.pid}").exists())
    assert [tenant.pid for tenant in node.client().tenants()] == [child]
    assert node.client().vnpu("p").cores == 4
    os.kill(child, signal.SIGKILL)
    eventually(lambda: node.client().vnpus() == [])


def test_the_end_of_the_connection_ends_the_lease_of_a_live_process(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    tenant = attach(node, "a")
    assert [seen.pid for seen in node.client().tenants()] == [os.getpid()]
    tenant.close()
    eventually(lambda: node.client().tenants() == [])
    assert node.client().vnpu("a").cores == 4


@pytest.mark.parametrize(("phase", "number"), [(None, 0), ("prefill", 1), ("decode", 2)])
def test_a_tenant_reads_the_phase_that_was_declared(node: Node, phase: str | None, number: int):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB, phase=phase)
    tenant = attach(node, "a")
    assert tenant.phase == number
    tenant.close()


def test_a_tenant_cannot_write_the_control_page(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    tenant = attach(node, "a")
    with pytest.raises(TypeError):
        struct.pack_into("<Q", tenant.control, 80, 0)
    # mmap keeps a descriptor of its own; neither it nor the file behind it can be mapped for writing.
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    (mine,) = [link for link in links if "flexnpu-control" in os.readlink(link)]  # noqa: PTH115 - it names no file
    with pytest.raises(PermissionError):
        mmap.mmap(int(mine.name), 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    tenant.close()


def test_nonsense_in_a_report_page_does_no_harm(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    tenant = attach(node, "a")
    tenant.report[:] = b"\xff" * 4096
    tenant.ledger[:] = b"\xff" * len(tenant.ledger)
    (seen,) = node.client().tenants()
    assert seen.tiled == seen.memory_used == 2**53 - 1
    assert node.client().vnpu("a").applied_revision == 1
    tenant.close()


@pytest.mark.parametrize(
    ("hello", "status", "words"),
    [
        (HELLO.pack(MAGIC, 9, HELLO.size, 0, b"a", 0, 0), 2, ("page version 9", f"page version {VERSION}")),
        (HELLO.pack(MAGIC, 7, 12, 0, b"a", 0, 0)[:12], 2, ("page version 7", f"page version {VERSION}")),
        (HELLO.pack(MAGIC, VERSION, HELLO.size, 0, b"nobody", 0, 0), 3, ("'nobody'", "flexnpu create")),
        (HELLO.pack(MAGIC, VERSION, HELLO.size, 0, b"x" * 64, 0, 0), 1, ("hello",)),
        (HELLO.pack(MAGIC, VERSION, HELLO.size, 0, b"a", 0, 0) + b"more", 1, ("hello",)),
        (b"GET / HTTP/1.1\r\n\r\n", 1, ("hello",)),
        (b"x", 1, ("hello",)),
    ],
)
def test_a_wrong_hello_is_answered_in_one_clear_line(node: Node, hello: bytes, status: int, words: tuple[str, ...]):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    with pytest.raises(RefusedError) as refused:
        attach(node, "a", payload=hello)
    assert refused.value.args[:2] == (status, VERSION)
    message = refused.value.args[2]
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert node.client().tenants() == []


def test_many_tenants_come_and_go_and_leave_no_descriptor(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    assert node.daemon is not None
    descriptors = Path(f"/proc/{node.daemon.pid}/fd")
    attach(node, "a").close()
    eventually(lambda: node.client().tenants() == [])
    before = len(list(descriptors.iterdir()))
    for _ in range(50):
        attach(node, "a").close()
    eventually(lambda: node.client().tenants() == [])
    eventually(lambda: len(list(descriptors.iterdir())) <= before + 1)


def test_delete_spares_live_tenants_unless_forced(node: Node):
    program = node.tenant("p", 24)
    program.line()
    code, _, errors = node.flexnpu("delete", "p")
    assert code == 3
    assert str(program.pid) in errors
    assert node.flexnpu("delete", "p", "--force")[0] == 0
    assert program.process.wait(20) == -signal.SIGKILL
    again = node.tenant("p", 24)
    assert again.line()["cube"] == 24


def test_a_softnpu_program_leaves_no_state_behind(quiet_node: Node):
    script = "import os; print(os.environ['FLEXNPU_SOFTNPU_STATE'], os.environ['LD_LIBRARY_PATH'])"
    code, out, errors = quiet_node.flexnpu("softnpu", "run", "--devices", "2", "--", sys.executable, "-c", script)
    assert (code, errors) == (0, "")
    state, libraries = out.split()
    assert libraries.split(":")[0].endswith("softnpu")
    eventually(lambda: not Path(state).exists())


def test_a_killed_softnpu_program_leaves_no_state_behind(quiet_node: Node):
    script = "import json, os, time; print(json.dumps(dict(os.environ)), flush=True); time.sleep(60)"
    program = quiet_node.program("softnpu", "run", "--", sys.executable, "-c", script)
    state = program.line()["FLEXNPU_SOFTNPU_STATE"]
    assert Path(state).is_dir()
    program.kill()
    eventually(lambda: not Path(state).exists())
