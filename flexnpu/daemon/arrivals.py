# SPDX-License-Identifier: Apache-2.0
"""How often a process may ask to be a tenant: who asks all the time loses its own turn, not that of others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_AT_ONCE = 16  # that are not answered yet
MOST_IN_A_ROW = 2048
PER_S = 100.0
_REMEMBERED = 4096


@dataclass(slots=True)
class _Asker:
    at_once: int
    left: float
    seen: float

    def full(self, now: float) -> bool:
        return self.at_once == 0 and self.left + (now - self.seen) * PER_S >= MOST_IN_A_ROW


class Arrivals:
    """By pid."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._askers: dict[int, _Asker] = {}

    def enter(self, pid: int) -> str | None:
        """Why it may not, or None; then leave() follows when it was answered."""
        now = self._clock()
        asker = self._askers.get(pid)
        if asker is None:
            self._forget_the_quiet(now)
            asker = self._askers[pid] = _Asker(0, float(MOST_IN_A_ROW), now)
        asker.left = min(float(MOST_IN_A_ROW), asker.left + (now - asker.seen) * PER_S)
        asker.seen = now
        if asker.at_once >= MOST_AT_ONCE:
            return f"{asker.at_once} connections of pid {pid} wait for an answer already; at most {MOST_AT_ONCE} may"
        if asker.left < 1:
            return f"pid {pid} asks too often; at most {PER_S:g} times a second, wait a little"
        asker.left -= 1
        asker.at_once += 1
        return None

    def leave(self, pid: int) -> None:
        asker = self._askers.get(pid)
        if asker is not None:
            asker.at_once -= 1

    def _forget_the_quiet(self, now: float) -> None:
        if len(self._askers) >= _REMEMBERED:
            self._askers = {pid: asker for pid, asker in self._askers.items() if not asker.full(now)}
