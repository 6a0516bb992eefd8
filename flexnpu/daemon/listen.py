# SPDX-License-Identifier: Apache-2.0
"""The admin API over TCP: what was asked for, and whether that is safe enough to be done."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexnpu.errors import InvalidValue

_WHERE = re.compile(r"\[(?P<six>[0-9a-fA-F:.%]+)\]:(?P<p6>\d{1,5})|(?P<host>[^:\[\]\s]+):(?P<port>\d{1,5})")
_SAY_SO = "or say --insecure-listen, and anybody who reaches it can change everything"


@dataclass(frozen=True, slots=True)
class Listen:
    """insecure: the operator said that neither TLS nor tokens nor client certificates are wanted."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None
    insecure: bool = False

    @classmethod
    def parse(cls, where: str, **options: Any) -> Listen:  # noqa: ANN401 - the fields
        """HOST:PORT; InvalidValue where it would be open to others and nobody said so, and for files that are no
        certificate or no key."""
        found = _WHERE.fullmatch(where)
        if found is None or int(found["p6"] or found["port"]) > 65535:
            raise InvalidValue(
                f"--listen {where!r} is no HOST:PORT", next_step="write it like 0.0.0.0:8443 or [::1]:8443"
            )
        made = cls(found["six"] or found["host"], int(found["p6"] or found["port"]), **options)
        made._check()
        if made.is_tls:
            made._try_files()
        return made

    @property
    def is_tls(self) -> bool:
        return self.tls_cert is not None

    @property
    def knows_callers(self) -> bool:
        return self.tokens is not None or self.client_ca is not None

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def open(self) -> socket.socket:
        """A listening socket; InvalidValue when it cannot be had."""
        try:
            ((family, _, _, _, address), *_) = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            return socket.create_server(address[:2], family=family, backlog=128)
        except OSError as error:
            raise InvalidValue(
                f"--listen {self.host}:{self.port} cannot be had ({error.strerror})", next_step="choose another"
            ) from error

    def tls(self) -> dict[str, Any]:
        """For uvicorn's configuration."""
        if not self.is_tls:
            return {}
        needed = ssl.CERT_OPTIONAL if self.tokens else ssl.CERT_REQUIRED
        found: dict[str, Any] = {"ssl_certfile": self.tls_cert, "ssl_keyfile": self.tls_key}
        return {**found, "ssl_ca_certs": self.client_ca, "ssl_cert_reqs": needed} if self.client_ca else found

    def _check(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidValue("--tls-cert and --tls-key go together", next_step="give both")
        if self.client_ca is not None and not self.is_tls:
            raise InvalidValue("--client-ca needs TLS", next_step="give --tls-cert and --tls-key")
        if self.insecure:
            return
        if not self.knows_callers:
            raise InvalidValue(
                f"--listen {self.host}:{self.port} would not know who asks",
                next_step=f"give --tokens or --client-ca, {_SAY_SO}",
            )
        if not self.is_tls and not self.is_loopback:
            raise InvalidValue(
                f"--listen {self.host}:{self.port} would show tokens to others",
                next_step=f"give --tls-cert and --tls-key, {_SAY_SO}",
            )

    def _try_files(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            assert self.tls_cert is not None
            context.load_cert_chain(self.tls_cert, self.tls_key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or error
            raise InvalidValue(
                f"--tls-cert, --tls-key or --client-ca cannot be used ({why})",
                next_step="name PEM files that belong together",
            ) from error


def shown(listener: socket.socket, *, tls: bool) -> str:
    """Its URL."""
    host, port, *_ = listener.getsockname()
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
