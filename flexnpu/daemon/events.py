# SPDX-License-Identifier: Apache-2.0
"""What happened on this node: the newest of it in memory, every one a line of the log."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator

from flexnpu.daemon.readers import Readers
from flexnpu.tenancy import EventView

log = logging.getLogger("flexnpud")

KEPT = 1024
# A process that is refused again and again must not fill the log, nor push out what others did.
REFUSALS_PER_S = 10


class Events:
    """A ring of events with rising ids, and those who follow it."""

    def __init__(self) -> None:
        self._ring: deque[EventView] = deque(maxlen=KEPT)
        self._next = 1
        self._readers = Readers("the events")
        self._refusals = (0.0, 0)

    def close(self) -> None:
        """Readers end."""
        self._readers.close()

    def publish(self, kind: str, vnpu: str, text: str, *, pid: int | None = None) -> None:
        """`text`: one line for a person, which names the vNPU and the process."""
        self._ring.append(EventView(self._next, time.time(), kind, vnpu, pid, text))
        self._next += 1
        log.info("%s", text)
        self._readers.wake()

    def refused(self, vnpu: str, text: str, pid: int | None) -> None:
        began, count = self._refusals
        now = time.monotonic()
        self._refusals = (now, 1) if now - began >= 1 else (began, count + 1)
        if self._refusals[1] <= REFUSALS_PER_S:
            self.publish("refused", vnpu, f"refused pid {pid}: {text}", pid=pid)

    def since(self, id_: int) -> list[EventView]:
        """Those after `id_` that are still known; all of them for an id that this daemon never gave."""
        known = id_ < self._next
        return [event for event in self._ring if event.id > id_ or not known]

    def follow(self, after: int, idle_s: float) -> AsyncIterator[EventView | None]:
        """Those after `after`, then what comes; None whenever nothing came for so long. Ends with the daemon."""

        def fresh() -> Iterator[EventView]:
            nonlocal after
            for event in self.since(after):
                after = event.id
                yield event

        return self._readers.follow(fresh, idle_s)
