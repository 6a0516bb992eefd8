# SPDX-License-Identifier: Apache-2.0
"""What programs write, line by line with whose line it is, and what becomes of them: for people, or as JSON lines.

Nothing here waits: a reader who does not read holds the programs up, and not the signals that are to end them.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

Stream = Literal["stdout", "stderr"]
MOST_LINE = 64 << 10  # bytes; what is longer is cut into several
_MOST_WAITING = 1 << 20  # bytes that nobody has read yet, beyond which nothing more is taken from the programs
_AT_ONCE = select.PIPE_BUF  # a pipe that has room has room for so much
_AGAIN_AFTER_S = 0.02
_COLOURS = (36, 33, 35, 32, 34, 31)


class Outlet:
    """A descriptor to write to. lost: called once when nobody will read any more."""

    def __init__(self, handle: int, lost: Callable[[], None]) -> None:
        self._handle, self._lost = handle, lost
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._is_lost = self._is_called = False
        self._room = select.poll()
        self._room.register(handle, select.POLLOUT)

    @property
    def is_full(self) -> bool:
        return self._bytes > _MOST_WAITING

    def write(self, data: bytes) -> None:
        if not self._is_lost:
            self._waiting.append(data)
            self._bytes += len(data)
            self._flush()

    def drop(self) -> None:
        """What is not written by now is not written any more."""
        self._is_lost = True
        self._waiting.clear()
        self._bytes = 0

    async def drain(self) -> None:
        """Until all is written, or nobody will read it."""
        while self._waiting:
            await asyncio.sleep(_AGAIN_AFTER_S)

    def _flush(self) -> None:
        try:
            while self._waiting and self._room.poll(0):
                data = self._waiting.popleft()
                written = os.write(self._handle, data[:_AT_ONCE])
                self._bytes -= written
                if written < len(data):
                    self._waiting.appendleft(data[written:])
        except OSError:
            self.drop()
            self._lost()
        if self._waiting and not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_later(_AGAIN_AFTER_S, self._again)

    def _again(self) -> None:
        self._is_called = False
        self._flush()


class Teller:
    """Lines with the program's name before them."""

    def __init__(self, names: Sequence[str], lost: Callable[[], None]) -> None:
        self.outlets: dict[Stream, Outlet] = {"stdout": Outlet(1, lost), "stderr": Outlet(2, lost)}
        width = max(map(len, names))
        self._prefixes = {
            stream: {name: self._prefix(name.ljust(width), at, handle) for at, name in enumerate(names)}
            for handle, stream in enumerate(self.outlets, start=1)
        }

    def line(self, name: str, stream: Stream, line: bytes) -> None:
        """One, without its end."""
        self.outlets[stream].write(self._prefixes[stream][name] + line + b"\n")

    def became(self, name: str, what: str, **more: object) -> None:
        """started, ready or ended."""
        told = ", ".join(f"{key} {value}" for key, value in more.items())
        text = f"flexnpu: {what}{f' ({told})' if told else ''}"
        self.outlets["stderr"].write(self._prefixes["stderr"][name] + text.encode() + b"\n")

    @staticmethod
    def _prefix(name: str, at: int, handle: int) -> bytes:
        plain = f"{name} | "
        coloured = os.isatty(handle) and not os.environ.get("NO_COLOR")
        return (f"\x1b[{_COLOURS[at % len(_COLOURS)]}m{plain}\x1b[0m" if coloured else plain).encode()


class JsonTeller(Teller):
    """An object for each line and for each change, all on stdout."""

    def line(self, name: str, stream: Stream, line: bytes) -> None:
        self._write({"program": name, "stream": stream, "line": line.decode(errors="replace")})

    def became(self, name: str, what: str, **more: object) -> None:
        self._write({"program": name, "event": what, **more})

    def _write(self, told: dict[str, object]) -> None:
        self.outlets["stdout"].write(json.dumps(told, ensure_ascii=False).encode() + b"\n")
