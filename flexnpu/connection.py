# SPDX-License-Identifier: Apache-2.0
"""One HTTP connection to a daemon, kept open from request to request: the standard library's, over its unix socket or
TCP. Moves of cores go over it, and a general client takes longer for a request than the daemon for the move."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, urlencode

Values = Mapping[str, object]  # of a query: booleans, numbers, texts, and lists of them


class NobodyThere(Exception):  # noqa: N818 - what is the case
    """No connection can be made."""


class Broken(Exception):  # noqa: N818 - what is the case
    """The connection ended, or was silent for too long, before the answer was whole."""


class Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("flexnpud", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Connection:
    """Not for several threads at once. headers go with every request."""

    def __init__(self, http_connection: http.client.HTTPConnection, headers: Mapping[str, str] | None = None) -> None:
        self._http, self._headers = http_connection, dict(headers or {})

    @classmethod
    def over_unix(cls, path: str, timeout_s: float) -> Connection:
        return cls(_UnixConnection(path, timeout_s))

    @classmethod
    def over_tcp(
        cls, where: SplitResult, timeout_s: float, tls: ssl.SSLContext | None, headers: Mapping[str, str]
    ) -> Connection:
        host = where.hostname or ""
        if tls is None:
            return cls(http.client.HTTPConnection(host, where.port or 80, timeout=timeout_s), headers)
        return cls(http.client.HTTPSConnection(host, where.port or 443, timeout=timeout_s, context=tls), headers)

    def close(self) -> None:
        self._http.close()

    def ask(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        path: str,
        fields: object = None,
        *,
        timeout_s: float,
        params: Values | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """NobodyThere or Broken. fields: JSON of the body. timeout_s: of each wait for the other side."""
        response = self._send(method, path, fields, timeout_s, params, headers)
        try:
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error

    @contextlib.contextmanager
    def follow(
        self, path: str, *, timeout_s: float | None, params: Values | None = None, headers: Mapping[str, str]
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The status, and the lines of the answer as they come. Nothing else can be asked meanwhile."""
        response = self._send("GET", path, None, timeout_s, params, headers)
        try:
            yield response.status, self._lines(response)
        finally:
            self._http.close()  # there may be more to come

    def _lines(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while line := response.readline():
                yield line.rstrip(b"\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error

    def _send(  # noqa: PLR0913, PLR0917 - the parts of a request
        self,
        method: str,
        path: str,
        fields: object,
        timeout_s: float | None,
        params: Values | None,
        headers: Mapping[str, str] | None,
    ) -> http.client.HTTPResponse:
        body = None if fields is None else json.dumps(fields).encode()
        told = {**self._headers, **({} if body is None else {"Content-Type": "application/json"}), **(headers or {})}
        target = f"{path}?{urlencode(_texts(params), doseq=True)}" if params else path
        self._connect(timeout_s)
        try:
            self._http.request(method, target, body, told)
            return self._http.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error

    def _connect(self, timeout_s: float | None) -> None:
        """Anew where the daemon has closed it since the last answer, as it does after a while."""
        if self._http.sock is not None and _has_something(self._http.sock):
            self._http.close()
        if self._http.sock is None:
            try:
                self._http.connect()
            except OSError as error:
                self._http.close()
                raise NobodyThere(str(error)) from error
        self._http.sock.settimeout(timeout_s)

    def _broken(self, error: Exception) -> Broken:
        self._http.close()
        return Broken(" ".join(str(error).split()) or type(error).__name__)


def _has_something(sock: socket.socket) -> bool:
    """To read: outside an answer that is the end. poll(), as select() takes no descriptor above 1023."""
    looking = select.poll()
    looking.register(sock, select.POLLIN)
    return bool(looking.poll(0))


def _texts(params: Values) -> dict[str, object]:
    """As the daemon reads them."""
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}
