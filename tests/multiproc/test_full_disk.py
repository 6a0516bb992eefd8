# SPDX-License-Identifier: Apache-2.0
"""No space left in the runtime directory: one clear error, nothing half done, and all goes on when there is space."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from fake_tenant import FakeTenant, RefusedError
from local_node import GIB, Node, eventually

from flexnpu.errors import FlexNpuError, RegistryError


@pytest.fixture
def full_node(quiet_node: Node) -> Iterator[Node]:
    """A daemon whose disk is full, but for the vNPU "a"."""
    place = str(quiet_node.root.parent)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        quiet_node.start()
        quiet_node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
        filler = quiet_node.root.parent / "filler"
        with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        yield quiet_node
        quiet_node.clean_up()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def change_until_refused(node: Node) -> FlexNpuError:
    """What is left of the log's last page takes some changes yet."""
    client = node.client()
    try:
        for cores in range(1, 1000):
            client.set_quota("a", cores=1 + cores % 20)
    except FlexNpuError as error:
        return error
    raise AssertionError("it was never full")


def test_a_full_disk_refuses_changes_and_does_nothing_by_halves(full_node: Node):
    refused = change_until_refused(full_node)
    assert isinstance(refused, RegistryError)
    assert "nothing was done" in str(refused)
    client = full_node.client()
    before = client.vnpu("a")
    code, out, errors = full_node.flexnpu("create", "b", "--cores", "1", "--memory", "1GiB")
    assert (code, out, errors.count("\n")) == (4, "", 1), errors
    assert "free some space" in errors
    with pytest.raises(RegistryError):
        client.delete_vnpu("a")
    with pytest.raises(RefusedError, match="registry cannot be changed"):
        FakeTenant.attach(full_node.attach_socket, "a")
    assert client.vnpus() == [before]
    assert client.tenants() == []


def test_a_tenant_frees_its_cores_although_nothing_can_be_written(full_node: Node):
    (full_node.root.parent / "filler").unlink()
    tenant = FakeTenant.attach(full_node.attach_socket, "a")
    with pytest.raises(OSError, match="No space left"), (full_node.root.parent / "filler").open("wb", 0) as file:
        while True:
            file.write(b"x" * 4096)
    change_until_refused(full_node)
    tenant.close()
    client = full_node.client()
    eventually(lambda: client.tenants() == [])
    eventually(lambda: client.vnpu("a").applied)
    (full_node.root.parent / "filler").unlink()
    assert client.set_quota("a", cores=24, wait=10).applied
    full_node.kill()
    full_node.start()
    assert full_node.client().vnpu("a").cores == 24
    FakeTenant.attach(full_node.attach_socket, "a").close()
