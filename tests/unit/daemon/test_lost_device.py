# SPDX-License-Identifier: Apache-2.0
"""Who attaches to a vNPU on a device that is lost is told so, and let in once it is back."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import fake_tenant
import pytest

from flexnpu.backend import Device
from flexnpu.daemon.attach import AttachServer
from flexnpu.daemon.host import capacity
from flexnpu.daemon.node import Node
from flexnpu.daemon.rundir import listening
from flexnpu.tenancy import Quota, Registry, VNpu


def attach(path: Path) -> int:
    """The slot of a tenant that comes and goes."""
    connection = fake_tenant.connect(str(path))
    try:
        connection.send(fake_tenant.hello("a"))
        slot, fds = fake_tenant.receive(connection)
        for fd in fds:
            os.close(fd)
        return slot
    finally:
        connection.close()


def test_a_lost_devices_programs_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    device = Device(0, "ascend", "Ascend910B2", 24, 48, 64 << 30, node=tmp_path / "davinci0")

    async def test() -> None:
        node = Node([device], Registry(":memory:", [capacity(device)]))
        server = AttachServer(listening(Path("attach.sock"), socket.SOCK_SEQPACKET, mode=0o600), node)
        serving = asyncio.create_task(server.run())
        node.create(VNpu(0, "a", (0,), Quota(4, 1 << 30)), None)
        with pytest.raises(fake_tenant.RefusedError, match=r"device 0 is lost: .*davinci0 is gone; see npu-smi info"):
            await asyncio.to_thread(attach, Path("attach.sock"))
        assert node.devices()[0].trouble == f"device 0 is lost: {device.node} is gone"
        (tmp_path / "davinci0").touch()
        assert await asyncio.to_thread(attach, Path("attach.sock")) == 0
        assert node.devices()[0].trouble is None
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        node.close()

    asyncio.run(asyncio.wait_for(test(), 60))
