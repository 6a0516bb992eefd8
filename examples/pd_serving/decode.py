# SPDX-License-Identifier: Apache-2.0
"""The decode instance: continuous batching over what prefill hands over, one token per running sequence and step.

At most one hand-over is taken in between two steps, so that a burst of them does not hold up those that run.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pd_serving.errors import RequestError
from pd_serving.handover import HostTaker, IpcTaker, Taker, open_shared
from pd_serving.link import Link, LinkError, Listener, Message
from pd_serving.loop import Loop, Parts
from pd_serving.pool import Layout, Pool
from pd_serving.protocol import Protocol
from pd_serving.sampling import Sampling
from pd_serving.schedule import Sequence
from pd_serving.text import ByteTokenizer
from pd_serving.ticket import Limits, Ticket


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """slots: hand-overs through host memory that may be on their way."""

    link: Path
    slots: int


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A hand-over whose keys and values are still prefill's."""

    sequence: Sequence
    place: Message


class Decode(Loop):
    """A thread of its own listens to the prefill instance: one at a time, and the next one when that is gone."""

    def __init__(self, parts: Parts, options: DecodeOptions) -> None:
        super().__init__(parts)
        vocabulary = parts.model.weights.vocabulary
        limits = Limits(vocabulary, parts.max_len - 1, parts.max_len)
        self.protocol = Protocol(parts.name, limits, ByteTokenizer(vocabulary))
        self._pool = Pool.create(Layout.of(parts.model.weights, options.slots, parts.max_len))
        self._listener = Listener(options.link, self._pool)
        self._link: Link | None = None
        self._taker: Taker = HostTaker(self._pool, self._cache)
        self._arrivals: deque[_Arrival] = deque()
        self._sequences: dict[int, Sequence] = {}
        self._told: list[tuple[int, int, str | None]] = []  # what this step's message will say

    @property
    def trouble(self) -> str | None:
        return "the engine has been stopped" if self._stopping.is_set() else None

    def submit(self, ticket: Ticket) -> None:
        raise RequestError("this is the decode instance; send requests to the prefill instance")

    def cancel(self, ticket: Ticket, reason: str) -> None:
        """It has none of its own."""

    def run(self) -> None:
        threading.Thread(target=self._listen, name="link", daemon=True).start()
        try:
            super().run()
        finally:
            self._listener.close()
            if self._link is not None:
                self._forget()

    def _listen(self) -> None:
        while (link := self._listener.accept()) is not None:
            self._inbox.put(link)
            for message in link.messages():
                self._inbox.put(message)
            self._inbox.put(link)

    def _hear(self, message: Any) -> None:
        if message is self._link:
            self._forget()
        elif isinstance(message, Link):
            self._link = message
        elif "share" in message:
            self._agree(message["share"])
        elif "hand_over" in message:
            sequence = _sequence(message)
            self._arrivals.append(_Arrival(sequence, message))
        else:
            self._cancel(message["cancel"])

    def _agree(self, shared: Message | None) -> None:
        """How keys and values come: out of prefill's memory where this process can open it."""
        self._taker, by, why = HostTaker(self._pool, self._cache), "host", "it offers none"
        if shared is not None:
            try:
                self._taker, by, why = IpcTaker(open_shared(shared, self._cache), self._cache), "ipc", ""
            except RuntimeError as error:
                why = str(error).splitlines()[0]
        self._send({"by": by, "why": why})

    def _forget(self) -> None:
        """That prefill instance is gone, and with it whoever asked."""
        assert self._link is not None
        for sequence in list(self._sequences.values()):
            self._scheduler.drop(sequence)
        self._sequences.clear()
        self._arrivals.clear()
        self._taker = HostTaker(self._pool, self._cache)  # lets go of its memory
        self._link.close()
        self._link = None

    def _cancel(self, number: int) -> None:
        """If it has not ended meanwhile."""
        for arrival in [each for each in self._arrivals if each.sequence.number == number]:
            self._arrivals.remove(arrival)
            self._send({"freed": number})
        if (sequence := self._sequences.pop(number, None)) is not None:
            self._scheduler.drop(sequence)

    def _prepare(self) -> None:
        """Takes one hand-over, in order of arrival; all that there is room for while nothing runs."""
        while self._arrivals and self._scheduler.has_room:
            sequence = self._arrivals[0].sequence
            blocks = self._cache.take(sequence.reserve)
            if blocks is None:
                return
            sequence.blocks = blocks
            self._taker.take(self._arrivals.popleft().place, sequence.length, blocks)
            self._send({"freed": sequence.number})
            self._sequences[sequence.number] = sequence
            self._scheduler.join(sequence)
            if self._scheduler.active > 1:
                return

    def _deliver(self, sequence: Sequence, token: int, reason: str | None) -> None:
        self._told.append((sequence.number, token, reason))
        if reason is not None:
            del self._sequences[sequence.number]
            self._scheduler.drop(sequence)

    def _delivered(self, now: float) -> None:
        self._send({"tokens": self._told, "time": now})
        self._told = []

    def _send(self, message: Message) -> None:
        if self._link is not None:
            with suppress(LinkError):  # the listening thread sees the same, and its note comes through the inbox
                self._link.send(message)

    def _waiting(self) -> float:
        return len(self._arrivals) + self._inbox.qsize()


def _sequence(message: Message) -> Sequence:
    sampling = message["sampling"]
    return Sequence(
        number=message["hand_over"],
        pending=[message["token"]],
        reserve=message["length"] + message["left"],
        left=message["left"],
        ignore_eos=message["ignore_eos"],
        sampling=None if sampling is None else Sampling(*sampling),
        length=message["length"],
        made=1,
        at=message["time"],
    )
