# SPDX-License-Identifier: Apache-2.0
"""Who may ask, and how often: callers from peers and tokens, scopes, and a bucket of requests for each caller."""

from __future__ import annotations

import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Request

from flexnpu.api.callers import WRITER, Caller, Peer, TcpPeer, UnixPeer
from flexnpu.api.tokens import TokenFile
from flexnpu.errors import Forbidden, TooManyRequests, Unauthenticated

REQUESTS_PER_S: Final = 1000.0
_FAILURES_PER_S: Final = 5.0  # of one address, to say who it is
_BURST_S: Final = 2.0  # a caller that was silent for so long may ask so much at once
_MOST_BUCKETS: Final = 4096
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PORT: Final = re.compile(r":\d+$")
_HEALTH: Final = frozenset({"/livez", "/readyz", "/healthz"})
_PAGE: Final = "/"
_PAGE_FILES: Final = "/web/"


class Buckets:
    """For each name so many requests a second. Those that have not asked for longest are forgotten first."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._most, self._clock = per_s, max(1.0, per_s * _BURST_S), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # at that time

    def take(self, name: str) -> bool:
        """Whether there was one left."""
        left, now = self._look(name)
        self._left[name] = (max(0.0, left - 1), now)
        self._left.move_to_end(name)
        if len(self._left) > _MOST_BUCKETS:
            self._left.popitem(last=False)
        return left >= 1

    def is_empty(self, name: str) -> bool:
        return self._look(name)[0] < 1

    def _look(self, name: str) -> tuple[float, float]:
        now = self._clock()
        left, at = self._left.get(name, (self._most, now))
        return min(self._most, left + (now - at) * self._per_s), now


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one daemon. admin_gid: whose members may use the admin socket, beside its own user and root."""

    tokens: TokenFile | None = None
    admin_gid: int | None = None
    requests_per_s: float = REQUESTS_PER_S
    _asked: Buckets = field(init=False)
    _failed: Buckets = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_asked", Buckets(self.requests_per_s))
        object.__setattr__(self, "_failed", Buckets(_FAILURES_PER_S))

    def admit(self, peer: Peer, path: str, headers: Mapping[bytes, bytes]) -> Caller:
        """Who asks. Unauthenticated, Forbidden, or TooManyRequests."""
        if path in _HEALTH:
            caller = _anybody(peer)
        elif _is_page(path):
            caller = _browser(peer, headers)
        else:
            _check_origin(peer, headers)
            caller = self._known(peer, headers)
        if not self._asked.take(f"{caller.kind} {caller.name}"):
            raise TooManyRequests(
                f"{caller.kind} {caller.name} asks more than {self.requests_per_s:g} times a second",
                next_step="ask less often, or follow /api/v1/events instead of asking again",
                limit=round(self.requests_per_s),
            )
        return caller

    def is_still_known(self, caller: Caller) -> bool:
        """Whether the caller of a request that goes on may have what comes; a token may have been taken away."""
        return caller.kind != "token" or (self.tokens is not None and self.tokens.holds(caller.digest))

    def _known(self, peer: Peer, headers: Mapping[bytes, bytes]) -> Caller:
        if isinstance(peer, UnixPeer):
            return self._process(peer)
        if peer.certificate is not None:
            return Caller("certificate", peer.certificate, WRITER)
        if peer.trusted:
            _check_host(peer, headers)
            return Caller("address", peer.address, WRITER)
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        found = self.tokens.find(token.strip()) if self.tokens and scheme.lower() == b"bearer" else None
        if found is None:
            # Who has a token is let in whoever else guesses from the same address.
            if self._failed.is_empty(peer.address):
                raise TooManyRequests(
                    f"{peer.address} has failed to say who it is too often", next_step="wait a second; check the token"
                )
            self._failed.take(peer.address)
            raise Unauthenticated(
                "the request has no token that this daemon knows",
                next_step="send Authorization: Bearer TOKEN (FLEXNPU_TOKEN_FILE); flexnpu token makes one",
            )
        return Caller("token", found.name, found.scopes, digest=found.digest)

    def _process(self, peer: UnixPeer) -> Caller:
        if peer.uid not in (0, os.geteuid()) and self.admin_gid not in peer.gids:
            raise Forbidden(
                f"uid {peer.uid} may not use this daemon, which serves uid {os.geteuid()}",
                next_step="ask its owner; flexnpud --admin-group lets a group in",
            )
        return Caller("uid", str(peer.uid), WRITER, peer.pid)


def _is_page(path: str) -> bool:
    """Files that a browser has to have before it can say who asks; there is nothing of the node in them."""
    return path == _PAGE or path.startswith(_PAGE_FILES)


def _browser(peer: Peer, headers: Mapping[bytes, bytes]) -> Caller:
    if isinstance(peer, TcpPeer) and not peer.encrypted:  # a certificate has the name that was asked for
        _check_host(peer, headers)
    return _anybody(peer)


def _check_host(peer: TcpPeer, headers: Mapping[bytes, bytes]) -> None:
    """Any page of the web can send a browser of this host here, under the page's own name."""
    host = _host(headers)
    if peer.address in _LOOPBACK and _PORT.sub("", host).strip("[]") not in _LOOPBACK:
        raise Forbidden(f"host {host[:80]!r} is not this one", next_step="ask for localhost, or use tokens")


def _check_origin(peer: Peer, headers: Mapping[bytes, bytes]) -> None:
    """Browsers say which page has them ask; no page but our own may."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and isinstance(peer, TcpPeer) and origin.partition("://")[2].casefold() != _host(headers).casefold():
        raise Forbidden(f"a page of {origin[:80]!r} may not ask here", next_step="use the page of this daemon, at /")


def _host(headers: Mapping[bytes, bytes]) -> str:
    return headers.get(b"host", b"").decode("latin-1")


def _anybody(peer: Peer) -> Caller:
    if isinstance(peer, UnixPeer):
        return Caller("uid", str(peer.uid), frozenset(), peer.pid)
    return Caller("address", peer.address, frozenset())


async def _may_write(request: Request) -> None:
    caller: Caller = request.state.caller
    if "write" not in caller.scopes:
        raise Forbidden(
            f"{caller.kind} {caller.name} may read, and not {request.method} {request.url.path[:80]}",
            next_step="use a token of scope write: flexnpu token NAME --scope write",
        )


# Of a route that changes something. Whoever comes to a route may read.
Write = Annotated[None, Depends(_may_write)]
MayWrite = Depends(_may_write)
