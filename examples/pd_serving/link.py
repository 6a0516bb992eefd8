# SPDX-License-Identifier: Apache-2.0
"""The connection between two instances: JSON lines over a unix socket, and once the shared memory's descriptor.

Decode listens; any number of prefill instances connect. Prefill sends once {"share": …}, how its cache is opened, or
null; decode says {"by": …}, ipc or host. Then, of a request that has its first token, prefill sends
{"hand_over": number, …}, or {"cancel": number}. Decode sends {"freed": number} when it has read keys and values, and
for every step {"tokens": [[number, token, reason], …], "time": …}, where reason is null but for a request's last token.
While it gets on, or has nothing to do, it sends {"others": count} every BEAT: requests that it has of others.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pd_serving.pool import Layout, Pool, memory

BEAT = 0.1  # seconds
_LONGEST_PATH = 107
Message = dict[str, Any]


class LinkError(ConnectionError):
    """The other instance is not there, is gone, or is of another shape."""


class SilenceError(Exception):
    """The other instance is connected, and says nothing."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"silent for {seconds:g} s")


class Link:
    """One end. send() may be called by any thread; messages() by one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        """Never waits: an end that has not read some thousand messages is taken for one that reads no more."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            with self._sending:
                self._socket.sendall(line, socket.MSG_DONTWAIT)
        except BlockingIOError as error:
            raise LinkError("it does not read what it is sent") from error
        except OSError as error:
            raise LinkError("it is gone") from error

    def messages(self, patience: float | None = None) -> Iterator[Message]:
        """Until the other end is gone, or talks nonsense; SilenceError where it says nothing for so many seconds."""
        rest = b""
        while data := self._read(patience):
            *lines, rest = (rest + data).split(b"\n")
            try:
                yield from map(json.loads, lines)
            except ValueError:
                return

    def _read(self, patience: float | None) -> bytes:
        said = select.poll()
        with suppress(OSError, ValueError):  # closed on this side
            said.register(self._socket, select.POLLIN)
            if patience is None or said.poll(1000 * patience):
                return self._socket.recv(1 << 16)
            raise SilenceError(patience)
        return b""

    def finish(self) -> None:
        """Nothing more is sent; the other end may still say something, and hears of it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        # shutdown wakes a thread that reads; close alone does not.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def check_path(path: Path) -> None:
    if len(str(path)) > _LONGEST_PATH:
        raise LinkError(
            f"--link {str(path)!r} is {len(str(path))} characters; a unix socket's path has at most {_LONGEST_PATH}"
        )


def connect(path: Path, layout: Layout, patience: float) -> tuple[Link, Pool]:
    """Prefill's side: the slots come from decode, within so many seconds. LinkError says why there is no decode
    instance."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(patience)
    descriptors: list[int] = []
    try:
        connection.connect(str(path))
        greeting, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        theirs = Layout(**json.loads(greeting))
        if replace(layout, slots=theirs.slots) != theirs:
            raise LinkError(f"it has {theirs}, prefill {layout}; start both with the same model, dtype and --max-len")
        pool = Pool(descriptors[0], theirs)
    except (OSError, ValueError, TypeError, IndexError) as error:
        connection.close()
        if isinstance(error, LinkError):
            raise
        if isinstance(error, OSError):
            raise LinkError(f"none listens ({error.strerror or error}); start one with --role decode") from error
        raise LinkError(f"what listens is none ({error})") from error
    finally:
        for each in descriptors:
            os.close(each)
    connection.settimeout(None)
    return Link(connection), pool


class Listener:
    """Decode's side. Each prefill instance gets slots of its own, which are gone with the connection."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = path
        self._layout = layout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if path.is_socket():  # of an instance that was killed
                path.unlink()
            self._socket.bind(str(path))
        except OSError as error:
            raise LinkError(
                f"--link {str(path)!r} cannot be bound ({error.strerror}); name a path in a folder of yours"
            ) from error
        self._socket.listen()

    def accept(self) -> tuple[Link, Pool] | None:
        """The next prefill instance; None once closed."""
        greeting = json.dumps(asdict(self._layout)).encode()
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return None
            with memory(self._layout) as descriptor:
                try:
                    socket.send_fds(connection, [greeting], [descriptor])
                    return Link(connection), Pool(descriptor, self._layout)
                except OSError:  # it came and went
                    connection.close()

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
