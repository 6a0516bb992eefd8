# SPDX-License-Identifier: Apache-2.0
"""A program's output, from its pipe to where lines are told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from flexnpu.cli.fleet.outlet import MOST_LINE, Outlet

_AGAIN_AFTER_S = 0.02
_MOST_READS = 64


class Pump:
    """tell: takes each line, without its end. outlet: where lines end up; while it is full, nothing is read. The pipe
    is the pump's."""

    def __init__(self, pipe: int, tell: Callable[[bytes], None], outlet: Outlet) -> None:
        self._pipe, self._tell, self._outlet = pipe, tell, outlet
        self._rest = b""
        self.ended = asyncio.Event()
        os.set_blocking(pipe, False)
        self._listen()

    def catch_up(self) -> None:
        """What is in the pipe by now is told; there may be others who go on writing."""
        for _ in range(_MOST_READS):
            if self.ended.is_set() or not self._take():
                return

    def close(self) -> None:
        """As that, and no more is waited for."""
        self.catch_up()
        self._end()

    def _listen(self) -> None:
        if not self.ended.is_set():
            asyncio.get_running_loop().add_reader(self._pipe, self._heard)

    def _heard(self) -> None:
        if self._outlet.is_full:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._pipe)
            loop.call_later(_AGAIN_AFTER_S, self._listen)
        else:
            self._take()

    def _take(self) -> bool:
        """Whether there was something."""
        try:
            data = os.read(self._pipe, MOST_LINE)
        except BlockingIOError:
            return False
        if not data:
            self._end()
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._tell(line)
        while len(self._rest) >= MOST_LINE:
            self._tell(self._rest[:MOST_LINE])
            self._rest = self._rest[MOST_LINE:]
        return True

    def _end(self) -> None:
        if self.ended.is_set():
            return
        asyncio.get_running_loop().remove_reader(self._pipe)
        if self._rest:
            self._tell(self._rest)
        os.close(self._pipe)
        self.ended.set()
