# SPDX-License-Identifier: Apache-2.0
"""The attach socket: one hello, one welcome with two descriptors, then silence until either side is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from dataclasses import dataclass

from flexnpu import _native
from flexnpu.daemon.host import Resident, Tenant
from flexnpu.daemon.node import Node
from flexnpu.errors import FlexNpuError

log = logging.getLogger("flexnpud")

HELLO_WITHIN_S = 5.0
GRANT_WITHIN_S = 10.0
_SO_PEERPIDFD = 77  # Linux 6.5; Python has no name for it yet


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, by the kernel's word."""

    pid: int
    uid: int

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return cls(pid, uid)

    def pidfd(self, connection: socket.socket) -> int:
        """A descriptor of the very process that connected; on older kernels, of the one that has its pid now."""
        try:
            return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
        except OSError:
            return os.pidfd_open(self.pid)


class RefusalError(Exception):
    """A welcome that is none."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class AttachServer:
    """Accepts tenants on a listening SOCK_SEQPACKET socket, which it owns."""

    def __init__(self, listener: socket.socket, node: Node) -> None:
        self._listener = listener
        self._node = node
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled; then every connection is closed."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError as error:  # out of descriptors: those who wait in the queue are served later
                    log.warning("cannot accept a tenant (%s)", error.strerror)
                    await asyncio.sleep(0.1)
                    continue
                task = loop.create_task(self._serve(connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            self._listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            try:
                name, tenant, resident = await self._admit(connection)
            except RefusalError as refusal:
                log.warning("refused a tenant: %s", refusal.message)
                with contextlib.suppress(OSError):
                    connection.send(_native.pack_welcome(refusal.status, refusal.message))
                return
            except OSError:  # gone before it was served
                return
            stopping = False
            try:
                await self._stay(connection, tenant, resident)
            except asyncio.CancelledError:  # the daemon stops, the tenant does not: the next daemon must know of it
                stopping = True
                raise
            except OSError as error:
                log.info("pid %d was gone before it was welcomed (%s)", tenant.lease.pid, error.strerror)
            finally:
                if not stopping:
                    self._node.detach(name, tenant)

    async def _admit(self, connection: socket.socket) -> tuple[str, Tenant, Resident]:
        peer = Peer.of(connection)
        if peer.uid not in (os.geteuid(), 0):
            raise RefusalError(_native.DENIED, f"uid {peer.uid} may not attach; this daemon serves uid {os.geteuid()}")
        name = await self._hello(connection)
        try:
            tenant, resident = await self._node.attach(name, peer.pid, peer.pidfd(connection), GRANT_WITHIN_S)
        except FlexNpuError as error:
            raise RefusalError(_native.DAEMON_FAULT, str(error)) from error
        return name, tenant, resident

    async def _hello(self, connection: socket.socket) -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                data = await loop.sock_recv(connection, _native.HELLO_SIZE + 1)
        except TimeoutError as error:
            raise RefusalError(_native.BAD_HELLO, f"no hello within {HELLO_WITHIN_S:g} s") from error
        hello = _native.parse_hello(data)
        if hello.status == _native.BAD_VERSION:
            raise RefusalError(
                _native.BAD_VERSION,
                f"page version {hello.version} of libflexnpu.so is not the daemon's page version "
                f"{_native.PAGE_VERSION}; install the same FlexNPU for both",
            )
        if hello.status != _native.OK:
            raise RefusalError(_native.BAD_HELLO, "not a hello of libflexnpu.so")
        name = hello.vnpu.decode(errors="replace")
        if not self._node.knows(name):
            raise RefusalError(_native.UNKNOWN_VNPU, f"vNPU {name!r} does not exist; make it with flexnpu create")
        return name

    async def _stay(self, connection: socket.socket, tenant: Tenant, resident: Resident) -> None:
        assert tenant.report is not None
        welcome = _native.pack_welcome(_native.OK, slot=tenant.slot)
        socket.send_fds(connection, [welcome], [resident.page.fd, tenant.report.fd, resident.ledger.fd])
        tenant.report.close_fd()
        silence = asyncio.ensure_future(self._silence(connection))
        ended = asyncio.ensure_future(tenant.ended.wait())
        try:
            await asyncio.wait((silence, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (silence, ended):
                waiting.cancel()
            await asyncio.gather(silence, ended, return_exceptions=True)

    @staticmethod
    async def _silence(connection: socket.socket) -> None:
        # A tenant has nothing more to say; what comes anyway is dropped.
        while await asyncio.get_running_loop().sock_recv(connection, 64):
            pass
