# SPDX-License-Identifier: Apache-2.0
"""Who asks, as the connection shows it and as the API knows them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Scope = Literal["read", "write"]
READER: frozenset[Scope] = frozenset({"read"})
WRITER: frozenset[Scope] = frozenset({"read", "write"})


@dataclass(frozen=True, slots=True)
class UnixPeer:
    """A process at the other end of the admin socket, by the kernel's word."""

    uid: int
    pid: int
    gids: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class TcpPeer:
    """A host. certificate: the common name of the client certificate that the TLS handshake has verified. trusted: the
    operator said that nobody has to say who they are on this listener. encrypted: by TLS, whose certificate has the
    name that was asked for."""

    address: str
    certificate: str | None = None
    trusted: bool = False
    encrypted: bool = False


Peer = UnixPeer | TcpPeer


@dataclass(frozen=True, slots=True)
class Caller:
    """kind says what `name` is: the uid, the token's name, the certificate's common name, or an address. digest: the
    token's, by which it is seen whether it is still good."""

    kind: Literal["uid", "token", "certificate", "address"]
    name: str
    scopes: frozenset[Scope]
    pid: int | None = None
    digest: str = ""

    @property
    def who(self) -> dict[str, str | int]:
        """For the audit line."""
        named: dict[str, str | int] = {self.kind: int(self.name) if self.kind == "uid" else self.name}
        return named if self.pid is None else {**named, "pid": self.pid}
