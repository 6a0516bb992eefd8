# SPDX-License-Identifier: Apache-2.0
"""Connections of the admin API: each tells its requests who is at the other end; there are so many at most, each has
to ask something soon, and what it asks begins with so many bytes of headers at most, in so much time."""

from __future__ import annotations

import array
import asyncio
import socket
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flexnpu.api.callers import Peer, TcpPeer, UnixPeer
from flexnpu.daemon.attach import Peer as Process

MOST_CONNECTIONS: Final = 512  # of one listener
ASK_WITHIN_S: Final = 10.0
MOST_HEAD_BYTES: Final = 32 << 10  # that are not complete; the API's own bound is below it
_SO_PEERGROUPS: Final = 59  # Linux 4.13; Python has no name for it
_MOST_GROUPS: Final = 256  # Python reads no longer answers; whoever is in more is let in by the primary one alone


class _Connection(HttpToolsProtocol):
    """uvicorn copies `app_state` into the state of each request."""

    _heads = 0  # that have begun to come
    _head_bytes: int | None = None  # of the one that is not complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self.app_state = {**self.app_state, "peer": self._peer(transport)}
        self.loop.call_later(ASK_WITHIN_S, self._look_for_request)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes is None:
            return
        if not self._head_bytes:
            self.loop.call_later(ASK_WITHIN_S, self._look_for_head, self._heads)
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._heads, self._head_bytes = self._heads + 1, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_bytes is None:
            raise ValueError("headers behind the body")  # nobody would read them; the parser answers 400
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()

    def _look_for_request(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def _look_for_head(self, number: int) -> None:
        if self._head_bytes is not None and self._heads == number:
            self.transport.abort()

    def _peer(self, transport: asyncio.Transport) -> Peer:
        raise NotImplementedError


class UnixConnection(_Connection):
    """On the admin socket."""

    def _peer(self, transport: asyncio.Transport) -> Peer:
        return unix_peer(transport.get_extra_info("socket"))


class TcpConnection(_Connection):
    """Who asks has to say who it is."""

    trusted = False

    def _peer(self, transport: asyncio.Transport) -> Peer:
        address, *_ = transport.get_extra_info("peername") or ("unknown",)
        return TcpPeer(
            str(address),
            certificate=_common_name(transport.get_extra_info("peercert")),
            trusted=self.trusted,
            encrypted=transport.get_extra_info("ssl_object") is not None,
        )


class TrustedConnection(TcpConnection):
    """On a listener where nobody has to."""

    trusted = True


def unix_peer(connection: socket.socket) -> UnixPeer:
    process = Process.of(connection)
    return UnixPeer(process.uid, process.pid, {process.gid, *_supplementary_groups(connection)})


def _supplementary_groups(connection: socket.socket) -> frozenset[int]:
    """Of the process at the other end; its primary group is among them only where the process has set it so."""
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * groups.itemsize))
    except OSError:
        return frozenset()
    return frozenset(groups)


def _common_name(certificate: dict[str, Any] | None) -> str | None:
    """Of a certificate that the handshake has verified; None where there is none."""
    for part in (certificate or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return None
