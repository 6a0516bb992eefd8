# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end of the admin socket, by the kernel's word."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from flexnpu.daemon.connections import unix_peer

_CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('\\0' + sys.argv[1]); sys.stdin.read()"


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
@pytest.mark.parametrize("supplementary", [[], [4243, 4244]])
def test_a_process_has_its_primary_group_and_its_supplementary_ones(supplementary: list[int]):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # an abstract name, which has no permissions
        listener.listen()
        command = ["python3", "-c", _CONNECT, listener.getsockname()[1:].decode()]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, user=65534, group=4242, extra_groups=supplementary
        ) as process:
            connection, _ = listener.accept()
            with connection:
                peer = unix_peer(connection)
            assert process.stdin is not None
            process.stdin.close()
    assert (peer.uid, peer.pid) == (65534, process.pid)
    assert peer.gids == {4242, *supplementary}
