# SPDX-License-Identifier: Apache-2.0
"""A request on its way through the engine, and what comes back to whoever asked. Times are CLOCK_MONOTONIC seconds."""

from __future__ import annotations

import itertools
import queue
import time
from dataclasses import dataclass, field

from pd_serving.sampling import Sampling

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for, in tokens."""

    vocabulary: int
    prompt: int
    total: int


@dataclass(frozen=True, slots=True)
class Event:
    """A token, or the end, or both. reason: "stop", "length" or "abort"; why: what went wrong."""

    token: int | None
    reason: str | None = None
    why: str | None = None


@dataclass(slots=True, eq=False)
class Ticket:
    """One request: its prompt, its tokens so far, and the queue that its handler thread sleeps on."""

    prompt: list[int]
    max_tokens: int
    ignore_eos: bool = False
    sampling: Sampling | None = None
    number: int = field(default_factory=lambda: next(_numbers))
    arrived: float = field(default_factory=time.monotonic)
    began: float | None = None  # its first iteration
    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)

    def push(self, token: int, at: float, reason: str | None) -> None:
        """The next token, and why it is the last one, if it is."""
        self.tokens.append(token)
        self.times.append(at)
        self.events.put(Event(token, reason))

    def end(self, reason: str) -> None:
        """No more tokens, without one that says so."""
        self.events.put(Event(None, reason))

    def fail(self, why: str) -> None:
        self.events.put(Event(None, why=why))
