# SPDX-License-Identifier: Apache-2.0
"""The attach socket: one hello, one welcome with four descriptors, then silence until either side is gone.

A connection costs callbacks, not tasks: a thousand processes may start within a second. Only one that has to wait for
its cores gets a task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from flexnpu import _native
from flexnpu.backend import lost
from flexnpu.daemon.arrivals import Arrivals
from flexnpu.daemon.counts import ATTACH_DENIALS
from flexnpu.daemon.host import Resident, Tenant
from flexnpu.daemon.node import Node
from flexnpu.daemon.tenants import Arrival, HandedBack, RefusalError
from flexnpu.errors import FlexNpuError

log = logging.getLogger("flexnpud")

HELLO_WITHIN_S = 5.0
ACCEPTED_AT_ONCE = 32  # then others of the loop have a turn
MOST_WORDS = 16  # after the welcome; a tenant has nothing to say
_SO_PEERPIDFD = 77  # Linux 6.5; Python has no name for it yet


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, by the kernel's word."""

    pid: int
    uid: int
    gid: int

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        return cls(*struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))

    def pidfd(self, connection: socket.socket) -> int:
        """A descriptor of the very process that connected; on older kernels, of the one that has its pid now."""
        try:
            return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
        except OSError:
            return os.pidfd_open(self.pid)


class AttachServer:
    """Accepts tenants on listening SOCK_SEQPACKET sockets, which it owns: one for those of the daemon's user, who name
    their vNPU, and those of single vNPUs, for whoever reaches them."""

    def __init__(self, listener: socket.socket, node: Node) -> None:
        self._listener = listener
        self._doors: dict[socket.socket, str] = {}
        self.node = node
        self.arrivals = Arrivals()
        self.open: set[_Connection] = set()

    async def run(self) -> None:
        """Until cancelled; then every connection is closed."""
        self._listen(self._listener)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for listener in (self._listener, *self._doors):
                self._close(listener)
            for connection in [*self.open]:
                connection.close()

    def open_door(self, listener: socket.socket, vnpu: str) -> None:
        """A socket of that vNPU alone."""
        self._doors[listener] = vnpu
        self._listen(listener)

    def close_door(self, listener: socket.socket) -> None:
        self._close(listener)
        del self._doors[listener]

    def _close(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def _listen(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors: those who wait in the queue are served later
                log.warning("cannot accept a tenant (%s)", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(0.1, self._listen, listener)
                return
            accepted.setblocking(False)
            peer = Peer.of(accepted)
            obstacle = self.arrivals.enter(peer.pid)
            if obstacle is None:
                _Connection(self, accepted, peer, self._doors.get(listener)).begin()
            else:
                self.refuse(accepted, peer, RefusalError(_native.DENIED, obstacle))

    def refuse(self, connection: socket.socket, peer: Peer, refusal: RefusalError, vnpu: str = "") -> None:
        self.node.count_denial(ATTACH_DENIALS[refusal.status], vnpu)
        self.node.log.refused(vnpu, refusal.message, peer.pid)
        with contextlib.suppress(OSError):
            connection.send(_native.pack_welcome(refusal.status, refusal.message))
        connection.close()


class _Connection:
    """One process at the other end: no hello yet, waiting for its cores, or a tenant. vnpu: whose socket it came to;
    None: it has to name one."""

    def __init__(self, server: AttachServer, connection: socket.socket, peer: Peer, vnpu: str | None) -> None:
        self._server = server
        self._node = server.node
        self._socket = connection
        self._fd = connection.fileno()  # to the event loop, which is slow with objects
        self._peer = peer
        self._vnpu = vnpu
        self._asking = True
        self._deadline: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._tenant: Tenant | None = None
        self._words = 0
        server.open.add(self)

    def begin(self) -> None:
        peer = self._peer
        if self._vnpu is None and peer.uid not in (os.geteuid(), 0):
            text = f"uid {peer.uid} may not attach; this daemon serves uid {os.geteuid()}"
            self._refuse(RefusalError(_native.DENIED, text))
            return
        # Most have sent their hello with the connection.
        if not self._hello():
            loop = asyncio.get_running_loop()
            loop.add_reader(self._fd, self._hello)
            self._deadline = loop.call_later(HELLO_WITHIN_S, self._too_late)

    def close(self, last: Callable[[], None] | None = None) -> None:
        """The process may live on; then it keeps its lease, for this daemon's successor or until it is seen dead."""
        self._server.open.discard(self)
        self._asked()
        if self._task is not None:
            self._task.cancel()
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            if last is not None:
                last()
            self._socket.close()

    def _asked(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._asking:
            self._server.arrivals.leave(self._peer.pid)
        self._asking = False

    def _too_late(self) -> None:
        self._refuse(RefusalError(_native.BAD_HELLO, f"no hello within {HELLO_WITHIN_S:g} s"))

    def _refuse(self, refusal: RefusalError, vnpu: str = "") -> None:
        self.close(lambda: self._server.refuse(self._socket, self._peer, refusal, vnpu))

    def _hello(self) -> bool:
        """Whether there was one."""
        try:
            # One descriptor more than anybody has to send, so that too many are seen.
            data, fds, _, _ = socket.recv_fds(self._socket, _native.HELLO_SIZE + 1, 3, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            return True
        asyncio.get_running_loop().remove_reader(self._fd)
        if self._deadline is not None:
            self._deadline.cancel()
        try:
            self._answer(data, fds)
        finally:
            if self._task is None:
                _close_all(fds)
        return True

    def _answer(self, data: bytes, fds: list[int]) -> None:
        if not data:
            self.close()
            return
        name = ""
        try:
            hello = _understood(data, fds)
            name = self._vnpu or hello.vnpu.decode(errors="replace")
            resident = self._find(name)
            back = HandedBack(hello.slot, *fds) if hello.returning else None
            arrival = Arrival(name, self._peer.pid, back)
            if self._node.attached.is_ready(resident, arrival):
                self._attach(resident, arrival)
            else:
                self._task = asyncio.get_running_loop().create_task(self._wait(resident, arrival, fds))
        except RefusalError as refusal:
            self._refuse(refusal, name)

    def _find(self, name: str) -> Resident:
        if not self._node.knows(name):
            text = f"vNPU {name!r} does not exist; make it with flexnpu create"
            raise RefusalError(_native.UNKNOWN_VNPU, text)
        resident = self._node.resident(name)
        if gone := next(filter(None, (lost(host.device) for host in resident.hosts)), None):
            raise RefusalError(_native.DENIED, f"{gone}; see npu-smi info on the host")
        return resident

    async def _wait(self, resident: Resident, arrival: Arrival, fds: list[int]) -> None:
        try:
            await self._node.attached.until_ready(resident, arrival)
            self._task = None  # close() need not end it any more
            if resident.deleted:
                text = f"vNPU {resident.name!r} was deleted while pid {arrival.pid} waited for it"
                raise RefusalError(_native.UNKNOWN_VNPU, text)  # noqa: TRY301 - answered below, with the others
            self._attach(resident, arrival)
        except FlexNpuError as error:
            self._task = None
            self._refuse(RefusalError(_native.DAEMON_FAULT, str(error)), arrival.vnpu)
        except RefusalError as refusal:
            self._task = None
            self._refuse(refusal, arrival.vnpu)
        finally:
            _close_all(fds)

    def _attach(self, resident: Resident, arrival: Arrival) -> None:
        try:
            pidfd = self._peer.pidfd(self._socket)
            tenant = self._node.attached.attach(resident, arrival, pidfd)
        except FlexNpuError as error:
            raise RefusalError(_native.DAEMON_FAULT, str(error)) from error
        except OSError as error:
            text = f"no memory page or descriptor for pid {arrival.pid} ({error.strerror}); see the daemon's log"
            raise RefusalError(_native.DAEMON_FAULT, text) from error
        self._asked()
        self._tenant = tenant
        tenant.hang_up = self.close
        self._welcome(resident, tenant)

    def _welcome(self, resident: Resident, tenant: Tenant) -> None:
        assert tenant.report is not None
        welcome = _native.pack_welcome(_native.OK, slot=tenant.lease.slot)
        try:
            fds = [resident.page.fd, tenant.report.fd, resident.ledger.fd, self._node.hails.fd]
            socket.send_fds(self._socket, [welcome], fds)
        except OSError as error:
            log.info("pid %d was gone before it was welcomed (%s)", tenant.pid, error.strerror)
            self._node.attached.detach(tenant)
            return
        tenant.report.close_fd()
        asyncio.get_running_loop().add_reader(self._fd, self._heard)

    def _heard(self) -> None:
        assert self._tenant is not None
        try:
            word = self._socket.recv(1)
        except BlockingIOError:
            return
        except OSError:
            word = b""
        self._words += 1
        if word and self._words <= MOST_WORDS:
            return
        if word:
            text = f"pid {self._tenant.pid} of {self._tenant.resident.name} talks after its welcome; its lease is ended"
            self._node.log.refused(self._tenant.resident.name, text, self._tenant.pid)
        self._node.attached.detach(self._tenant)


def _understood(data: bytes, fds: list[int]) -> _native.Hello:
    hello = _native.parse_hello(data)
    if hello.status == _native.BAD_VERSION:
        raise RefusalError(
            _native.BAD_VERSION,
            f"page version {hello.version} of libflexnpu.so is not the daemon's page version "
            f"{_native.PAGE_VERSION}; install the same FlexNPU for both",
        )
    if hello.status != _native.OK or len(fds) != (2 if hello.returning else 0):
        raise RefusalError(_native.BAD_HELLO, "not a hello of libflexnpu.so")
    return hello


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
