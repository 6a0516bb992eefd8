# SPDX-License-Identifier: Apache-2.0
"""The decode instances that a prefill instance hands over to, each at a socket of its own.

A thread for each socket connects to it, and again when the connection is lost; another reads what a connection says.
Both only tell the loop's thread, which alone changes a session.

A connection is lost when the other end has closed it, or says nothing for too long. What a silent one says later is
nobody's. It may still read what was shared with it, so that is not to be used again before its end is closed: by
itself, when it goes on, or by its death.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pd_serving.handover import Giver
from pd_serving.link import BEAT, Link, LinkError, Message, SilenceError, connect
from pd_serving.pool import Layout, Pool

_SILENT = 5 * BEAT
_RETRY = 0.1  # seconds


@dataclass(slots=True, eq=False)
class Session:
    """One connection, and what went over it. giver: None until it is agreed how keys and values go over."""

    path: Path
    link: Link
    pool: Pool
    giver: Giver | None = None
    requests: set[int] = field(default_factory=set)  # handed over, and not at their end
    others: int = 0  # requests that it has of other prefill instances
    draining: bool = False  # new ones are to go to others
    heard: float = field(default_factory=time.monotonic)

    @property
    def silent(self) -> bool:
        return time.monotonic() - self.heard > _SILENT

    @property
    def has_room(self) -> bool:
        return self.giver is not None and self.giver.has_room and not self.silent

    @property
    def load(self) -> int:
        """Requests that it has, or will have."""
        return len(self.requests) + self.others


@dataclass(frozen=True, slots=True)
class Said:
    session: Session
    message: Message


@dataclass(frozen=True, slots=True)
class Lost:
    session: Session
    why: str


@dataclass(frozen=True, slots=True)
class Closed:
    """Nobody reads what was shared in that session any more."""

    session: Session


class Peer:
    """One socket. tell: gets a Session, what it says, that it is lost and that it is closed, in this order; and None
    now and then while there is none."""

    def __init__(self, path: Path, layout: Layout, give_up: float, tell: Callable[[Any], None]) -> None:
        self.path = path
        self.trouble: str | None = "not there yet"  # why there is no session
        self._layout = layout
        self._give_up = give_up
        self._tell = tell
        self._readers: list[threading.Thread] = []

    def start(self, over: threading.Event) -> None:
        """Until that is set."""
        threading.Thread(target=self._run, args=(over,), name="link", daemon=True).start()

    def join(self, deadline: float) -> None:
        """Until what was shared with the other end has been let go of, or that time."""
        for reader in list(self._readers):
            reader.join(max(0.0, deadline - time.monotonic()))

    def _run(self, over: threading.Event) -> None:
        while not over.is_set():
            try:
                link, pool = connect(self.path, self._layout, self._give_up)
            except LinkError as error:
                self.trouble = str(error)
                self._tell(None)
                over.wait(_RETRY)
                continue
            self.trouble = None
            lost = threading.Event()
            session = Session(self.path, link, pool)
            reader = threading.Thread(target=self._read, args=(session, lost), name="link", daemon=True)
            self._readers = [each for each in self._readers if each.is_alive()] + [reader]
            reader.start()
            lost.wait()

    def _read(self, session: Session, lost: threading.Event) -> None:
        self._tell(session)
        why = "it is gone"
        try:
            for message in session.link.messages(self._give_up):
                session.heard = time.monotonic()
                self._tell(Said(session, message))
        except SilenceError as error:
            why = str(error)
        self.trouble = why
        self._tell(Lost(session, why))
        lost.set()
        session.link.finish()
        for _ in session.link.messages():
            pass
        session.link.close()
        self._tell(Closed(session))
