# SPDX-License-Identifier: Apache-2.0
"""Attach sockets of single vNPUs: for any user who reaches one, and for no other vNPU."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from local_node import FAKE_TENANT, Node, Program, eventually

from flexnpu.errors import InvalidValue, OverQuota

NOBODY = 65534


@pytest.fixture
def folder(node: Node) -> Path:
    """A folder of the daemon's user that others may pass through."""
    node.root.parent.chmod(0o711)
    made = node.root.parent / "pod"
    made.mkdir(mode=0o755)
    return made


def tenant(node: Node, folder: Path, vnpu: str) -> Program:
    env = {**node.env, "FLEXNPU_SOCKET": str(folder / "attach.sock"), "FLEXNPU_VNPU": vnpu}
    return node._run([sys.executable, FAKE_TENANT, "loyal"], env)


def create(node: Node, name: str, folder: Path, cores: int = 4) -> None:
    with node.client() as client:
        client.create_vnpu(name, cores=cores, memory_bytes=2**30, attach_dirs=[folder], labels={"pod": "p"})


def test_whoever_comes_by_a_vnpus_own_socket_is_on_that_vnpu_whatever_it_names(node, folder):
    create(node, "a", folder)
    with node.client() as client:
        client.create_vnpu("b", cores=8, memory_bytes=2**30)
        assert (client.vnpu("a").labels, client.vnpu("a").attach_dirs) == ({"pod": "p"}, [str(folder)])
    assert tenant(node, folder, "b").line()["cube"] == 4
    with node.client() as client:
        assert (client.vnpu("a").tenants, client.vnpu("b").tenants) == (1, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_let_in_by_the_vnpus_own_socket(node, folder):
    create(node, "a", folder)
    assert stat.S_IMODE((folder / "attach.sock").stat().st_mode) == 0o666
    ask = (
        "import os, socket, sys; sys.path.insert(0, sys.argv[2]); import fake_tenant;"
        "way = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); way.connect(sys.argv[1]); os.setuid(65534);"
        "way.close(); way = fake_tenant.connect(sys.argv[1]); way.send(fake_tenant.hello('a'));"
        "print('{\"slot\": %d}' % fake_tenant.receive(way)[0])"
    )
    support = str(Path(FAKE_TENANT).parent)
    assert node._run([sys.executable, "-c", ask, str(folder / "attach.sock"), support]).line() == {"slot": 0}


def test_the_next_daemon_opens_it_again_and_tenants_come_back_by_it(node, folder):
    create(node, "a", folder)
    program = tenant(node, folder, "pod")
    program.line()
    node.kill()
    node.start()
    with node.client() as client:
        eventually(lambda: [each.present for each in client.tenants("a")] == [True])
        assert client.vnpu("a").labels == {"pod": "p"}


def test_the_socket_goes_with_its_vnpu_and_with_the_daemon(node, folder):
    create(node, "a", folder)
    with node.client() as client:
        client.delete_vnpu("a")
    assert list(folder.iterdir()) == []
    create(node, "b", folder)
    assert node.daemon is not None
    node.daemon.kill(15)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_used_makes_no_vnpu(node, folder):
    create(node, "a", folder)
    missing = folder / "missing"
    other = folder.with_name("other")
    other.mkdir()
    (other / "attach.sock").touch()
    with pytest.raises(InvalidValue, match=r"attach\.sock in it is no socket"):
        create(node, "b", other)
    for place, why in ((folder, "vNPU a has it"), (node.root, "the daemon has it"), (missing, "No such file")):
        with pytest.raises(InvalidValue, match=why):
            create(node, "b", place)
    with pytest.raises(OverQuota):
        create(node, "b", missing, cores=21)
    with node.client() as client:
        assert [vnpu.name for vnpu in client.vnpus()] == ["a"]
        assert client.devices()[0].cores_free == 20


def test_labels_change_one_by_one_without_a_revision(node, folder):
    create(node, "a", folder)
    with node.client() as client:
        client.set_labels("a", {"namespace": "n"})
        after = client.set_labels("a", {"pod": None})
        assert (after.labels, after.revision) == ({"namespace": "n"}, 1)
