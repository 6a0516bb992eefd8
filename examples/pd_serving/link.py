# SPDX-License-Identifier: Apache-2.0
"""The connection between the two instances: JSON lines over a unix socket, and once the shared memory's descriptor.

Decode listens. Prefill sends once {"share": …}, how its cache is opened, or null; decode says {"by": …}, ipc or host.
Then, of a request that has its first token, prefill sends {"hand_over": number, …}, or {"cancel": number}; decode sends
{"freed": number} when it has read keys and values, and for every step {"tokens": [[number, token, reason], …],
"time": …}, where reason is null but for the last token of a request.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pd_serving.pool import Layout, Pool

_LONGEST_PATH = 107
Message = dict[str, Any]


class LinkError(ConnectionError):
    """The other instance is not there, is gone, or is of another shape."""


class Link:
    """One end. send() may be called by any thread; messages() by one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            with self._sending:
                self._socket.sendall(line)
        except OSError as error:
            raise LinkError(f"the other instance is gone ({error})") from error

    def messages(self) -> Iterator[Message]:
        """Until the other end is gone."""
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    yield json.loads(line)
        except (OSError, ValueError):
            return

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


def connect(path: Path, layout: Layout, patience: float, stopped: Callable[[], bool]) -> tuple[Link, Pool]:
    """Prefill's side: waits for decode to listen, and gets the slots from it."""
    deadline = time.monotonic() + patience
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
            break
        except OSError as error:
            connection.close()
            if time.monotonic() > deadline or stopped():
                raise LinkError(
                    f"no decode instance listens at {path} ({error.strerror}); start one with --role decode"
                ) from error
            time.sleep(0.1)
    connection.settimeout(patience)
    try:
        greeting, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        theirs = Layout(**json.loads(greeting))
    except (OSError, ValueError, TypeError) as error:
        connection.close()
        raise LinkError(f"what listens at {path} is no decode instance ({error})") from error
    connection.settimeout(None)
    slots = theirs.slots
    if Layout(layout.layers, layout.width, layout.dtype, slots, layout.slot_tokens) != theirs:
        connection.close()
        raise LinkError(
            f"decode at {path} has {theirs}, prefill {layout}; start both with the same model, dtype and --max-len"
        )
    return Link(connection), Pool(descriptors[0], theirs)


class Listener:
    """Decode's side. One prefill instance at a time; another may connect when that one is gone."""

    def __init__(self, path: Path, pool: Pool) -> None:
        self._path = path
        self._pool = pool
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if path.is_socket():  # of an instance that was killed
                path.unlink()
            self._socket.bind(str(path))
        except OSError as error:
            raise LinkError(
                f"--link {str(path)!r} cannot be bound ({error.strerror}); name a path in a folder of yours"
            ) from error
        self._socket.listen(1)

    def accept(self) -> Link | None:
        """The next prefill instance; None once closed."""
        greeting = json.dumps(asdict(self._pool.layout)).encode()
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return None
            try:
                socket.send_fds(connection, [greeting], [self._pool.descriptor])
            except OSError:  # it came and went
                connection.close()
                continue
            return Link(connection)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
