# SPDX-License-Identifier: Apache-2.0
"""What happened on this node: the newest of it in memory, every one a line of the log."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from flexnpu.daemon.readers import Readers
from flexnpu.tenancy import EventView

log = logging.getLogger("flexnpud")

KEPT = 8192  # a controller that moves cores twenty times a second fills it in minutes
# A process that is refused again and again must not fill the log, nor push out what others did.
REFUSALS_PER_S = 10
GATHER_S = 0.05


@dataclass(slots=True)
class _Refusals:
    began: float = 0.0
    count: int = 0


class Events:
    """A ring of events with rising ids, and those who follow it.

    Ids begin at the milliseconds since 1970, so that no id of an earlier daemon is one of this: it would have had to
    tell of a thousand events a second for all of its life.
    """

    def __init__(self) -> None:
        self._ring: deque[EventView] = deque(maxlen=KEPT)
        self._newest = int(time.time() * 1000)
        self._first = self._newest + 1
        self._readers = Readers("the events", GATHER_S)
        self._refusals = _Refusals()

    def close(self) -> None:
        """Readers end."""
        self._readers.close()

    def publish(self, kind: str, vnpu: str, text: str, *, pid: int | None = None, revision: int | None = None) -> None:
        """`text`: one line for a person, which names the vNPU and the process."""
        self._newest += 1
        self._ring.append(EventView(self._newest, time.time(), kind, vnpu, pid, revision, text))
        log.info("%s", text)
        self._readers.wake()

    def refused(self, vnpu: str, text: str, pid: int | None) -> None:
        seen, now = self._refusals, time.monotonic()
        if now - seen.began >= 1:
            seen.began, seen.count = now, 0
        seen.count += 1
        if seen.count <= REFUSALS_PER_S:
            self.publish("refused", vnpu, f"refused pid {pid}: {text}", pid=pid)

    def since(self, after: int | None) -> list[EventView]:
        """Those after that id, or all that are known. A resync alone where some after it are not known any more, or it
        is no id of this daemon."""
        if after is None:
            return [*self._ring]
        oldest = self._ring[0].id if self._ring else self._first
        if not oldest - 1 <= after <= self._newest:
            text = f"events after {after} are not known any more; read again what you keep"
            return [EventView(self._newest, time.time(), "resync", "", None, None, text)]
        # Ids rise by one, and a deque is quick at its ends: who is up to date costs nothing.
        return [self._ring[at] for at in range(after - self._newest, 0)]

    def follow(self, after: int | None, idle_s: float) -> AsyncIterator[list[EventView]]:
        """Those after `after`, then what comes; none whenever nothing came for so long. Ends with the daemon."""

        def fresh() -> Iterator[EventView]:
            nonlocal after
            for event in self.since(after):
                after = event.id
                yield event
            if after is None:
                after = self._newest

        return self._readers.follow(fresh, idle_s)
