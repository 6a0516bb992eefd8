# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end of the admin socket, by the kernel's word; and what a connection may begin with."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest
import uvicorn

from flexnpu.daemon import connections
from flexnpu.daemon.connections import MOST_HEAD_BYTES, UnixConnection, unix_peer

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


async def _answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def _connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that answers `ok` to whatever is asked."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")
        config = uvicorn.Config(_answer, http=UnixConnection, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_unix_connection(listener.getsockname())
        yield reader, writer
        writer.close()
        server.should_exit = True
        await serving


def _in_a_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**given: object) -> None:
        asyncio.run(test(**given))

    return run


_FIRST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize("before", [b"", _FIRST], ids=["first", "second"])
@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nx: "], ids=["target", "header"])
@_in_a_loop
async def test_a_head_without_an_end_is_not_kept(before: bytes, begun: bytes):
    async with _connected() as (_, writer):
        writer.write(before + begun)
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 1 << 22:
                writer.write(b"a" * 4096)
                sent += 4096
                await writer.drain()
                await asyncio.sleep(0.001)
        assert sent < 16 * MOST_HEAD_BYTES  # it takes a while until the writer knows


@pytest.mark.parametrize("before", [b"", _FIRST], ids=["first", "second"])
@_in_a_loop
async def test_a_head_that_does_not_go_on_ends_the_connection(monkeypatch: pytest.MonkeyPatch, before: bytes):
    monkeypatch.setattr(connections, "ASK_WITHIN_S", 0.3)
    async with _connected() as (reader, writer):
        writer.write(before + b"GET / HT")
        async with asyncio.timeout(5):
            assert (await reader.read(4096)).startswith(b"HTTP/1.1 200" if before else b"")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() in (b"", b"ok")


@_in_a_loop
async def test_a_connection_that_waits_between_requests_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "ASK_WITHIN_S", 0.2)
    async with _connected() as (reader, writer):
        for _ in range(2):
            writer.write(_FIRST[:20])
            await asyncio.sleep(0.05)
            writer.write(_FIRST[20:])
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.4)


@_in_a_loop
async def test_headers_behind_a_body_are_refused():
    async with _connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: 1\r\n\r\n")
        assert b"HTTP/1.1 400" in await reader.read()
