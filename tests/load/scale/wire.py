# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 over a unix socket, as little as a load generator can do with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Gone(Exception):  # noqa: N818 - what is the case
    """The daemon is not there, or went away before it answered."""


class Wire:
    """One connection, opened when it is needed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, target: str, fields: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        try:
            reader, _ = await self._send(method, target, fields, headers)
            status, told = await _head(reader)
            return Answer(status, told, await reader.readexactly(int(told.get("content-length", 0))))
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.close()
            raise Gone(str(error)) from error

    async def events(self, target: str, after: int | None) -> AsyncIterator[bytes]:
        """Blocks of a stream, without their empty line."""
        try:
            headers = {} if after is None else {"Last-Event-ID": str(after)}
            reader, _ = await self._send("GET", target, None, headers)
            status, _ = await _head(reader)
            assert status == 200, status
            rest = b""
            while size := int(await reader.readline(), 16):
                rest += (await reader.readexactly(size + 2))[:-2]
                *blocks, rest = rest.split(b"\n\n")
                for block in blocks:
                    yield block
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise Gone(str(error)) from error
        finally:
            self.close()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def _send(
        self, method: str, target: str, fields: object, headers: Mapping[str, str] | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(self._path)
        body = b"" if fields is None else json.dumps(fields).encode()
        lines = [f"{method} {target} HTTP/1.1", "host: flexnpud", f"content-length: {len(body)}"]
        if body:
            kind = "merge-patch+json" if method == "PATCH" else "json"
            lines.append(f"content-type: application/{kind}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._streams[1].write("\r\n".join([*lines, "", ""]).encode() + body)
        return self._streams


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines if line)
    return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}
