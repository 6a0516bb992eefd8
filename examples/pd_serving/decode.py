# SPDX-License-Identifier: Apache-2.0
"""The decode instance: continuous batching over what is handed over, one token per running sequence and step.

No more hand-overs are taken in between two steps than steps are made at a time, so that a burst of them does not hold
up those that run.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pd_serving.errors import RequestError
from pd_serving.handover import HostTaker, IpcTaker, Taker, open_shared, sequence_of
from pd_serving.link import BEAT, Link, LinkError, Listener, Message
from pd_serving.loop import Loop, Parts
from pd_serving.pool import Layout, Pool
from pd_serving.protocol import Protocol
from pd_serving.schedule import Sequence
from pd_serving.text import ByteTokenizer
from pd_serving.ticket import Limits, Ticket


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """slots: hand-overs of each prefill instance that may be on their way."""

    link: Path
    slots: int


@dataclass(slots=True, eq=False)
class _Source:
    """A prefill instance. taker: None until it is agreed how keys and values come; told: what this step's message will
    say."""

    link: Link
    pool: Pool
    taker: Taker | None = None
    told: list[tuple[int, int, str | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Said:
    """message: None where it is gone."""

    source: _Source
    message: Message | None


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A hand-over whose keys and values are still prefill's."""

    source: _Source
    sequence: Sequence
    place: Message


class Decode(Loop):
    """Threads of its own listen for prefill instances and to each of them, and tell them that this one gets on."""

    def __init__(self, parts: Parts, options: DecodeOptions) -> None:
        super().__init__(parts)
        vocabulary = parts.model.weights.vocabulary
        limits = Limits(vocabulary, parts.max_len - 1, parts.max_len)
        self.protocol = Protocol(parts.name, limits, ByteTokenizer(vocabulary))
        self._listener = Listener(options.link, Layout.of(parts.model.weights, options.slots, parts.max_len))
        self._sources: list[_Source] = []
        self._arrivals: deque[_Arrival] = deque()
        self._owners: dict[Sequence, _Source] = {}  # of those that run

    @property
    def trouble(self) -> str | None:
        return "the engine has been stopped" if self._stopping.is_set() else None

    def submit(self, ticket: Ticket) -> None:
        raise RequestError("this is the decode instance; send requests to the prefill instance")

    def cancel(self, ticket: Ticket, reason: str) -> None:
        """It has none of its own."""

    def run(self) -> None:
        for does in (self._listen, self._beat):
            threading.Thread(target=does, name="link", daemon=True).start()
        try:
            super().run()
        finally:
            self._listener.close()
            for source in list(self._sources):
                self._forget(source)

    def _listen(self) -> None:
        while (came := self._listener.accept()) is not None:
            threading.Thread(target=self._listen_to, args=(_Source(*came),), name="link", daemon=True).start()

    def _listen_to(self, source: _Source) -> None:
        for message in source.link.messages():
            self._inbox.put(_Said(source, message))
        self._inbox.put(_Said(source, None))

    def _beat(self) -> None:
        turns = -1
        while not self._stopping.wait(BEAT):
            if not self._asleep and self._turns == turns:
                continue
            turns = self._turns
            for source in list(self._sources):
                with suppress(LinkError):  # the loop will see the same, or whoever listens
                    source.link.send({"others": self._others(source), "draining": self.draining})

    def _others(self, source: _Source) -> int:
        """Requests that are not of that prefill instance."""
        owners = list(self._owners.values()) + [each.source for each in list(self._arrivals)]
        return len(owners) - owners.count(source)

    def _hear(self, message: _Said) -> None:
        source, said = message.source, message.message
        if said is None:
            self._forget(source)
        elif "share" in said:
            self._agree(source, said["share"])
        elif source not in self._sources:
            pass  # it has been given up
        elif "hand_over" in said:
            self._arrivals.append(_Arrival(source, sequence_of(said), said))
        else:
            self._cancel(source, said["cancel"])

    def _agree(self, source: _Source, shared: Message | None) -> None:
        """How keys and values come: out of prefill's memory where this process can open it."""
        taker: Taker = HostTaker(source.pool, self._cache)
        by, why = "host", "it offers none"
        if shared is not None:
            try:
                taker, by, why = IpcTaker(open_shared(shared, self._cache), self._cache), "ipc", ""
            except RuntimeError as error:
                why = str(error).splitlines()[0]
        source.taker = taker
        self._sources.append(source)
        self._send(source, {"by": by, "why": why})

    def _forget(self, source: _Source) -> None:
        """That prefill instance is gone, and with it whoever asked."""
        for sequence in [each for each, owner in self._owners.items() if owner is source]:
            self._end(sequence)
        for arrival in [each for each in self._arrivals if each.source is source]:
            self._arrivals.remove(arrival)
        if source in self._sources:
            self._sources.remove(source)
        source.taker = None  # lets go of its memory,
        source.link.close()  # and says so

    def _cancel(self, source: _Source, number: int) -> None:
        """If it has not ended meanwhile."""
        for arrival in [each for each in self._arrivals if (each.source, each.sequence.number) == (source, number)]:
            self._arrivals.remove(arrival)
            self._send(source, {"freed": number})
        for sequence in [each for each, owner in self._owners.items() if (owner, each.number) == (source, number)]:
            self._end(sequence)

    def _end(self, sequence: Sequence) -> None:
        del self._owners[sequence]
        self._scheduler.drop(sequence)

    def _prepare(self) -> None:
        """Takes hand-overs in order of arrival, at least as many as may run without holding up each other."""
        taken = 0
        while self._arrivals and self._scheduler.has_room:
            arrival = self._arrivals[0]
            blocks = self._cache.take(arrival.sequence.reserve)
            if blocks is None:
                return
            arrival.sequence.blocks = blocks
            self._take(self._arrivals.popleft())
            taken += 1
            if taken >= self._ahead and self._scheduler.active > self._ahead:
                return

    def _take(self, arrival: _Arrival) -> None:
        source, sequence = arrival.source, arrival.sequence
        assert source.taker is not None
        source.taker.take(arrival.place, sequence.length, sequence.blocks)
        self._owners[sequence] = source
        self._scheduler.join(sequence)
        self._send(source, {"freed": sequence.number})

    def _deliver(self, sequence: Sequence, token: int, reason: str | None) -> None:
        self._owners[sequence].told.append((sequence.number, token, reason))
        if reason is not None:
            self._end(sequence)

    def _delivered(self, now: float) -> None:
        for source in [each for each in self._sources if each.told]:
            told, source.told = source.told, []
            self._send(source, {"tokens": told, "time": now, "others": self._others(source)})

    def _send(self, source: _Source, message: Message) -> None:
        """One that cannot be told anything is as good as gone; whoever listens to it may not have noticed."""
        try:
            source.link.send(message)
        except LinkError:
            self._forget(source)

    def _waiting(self) -> float:
        return len(self._arrivals) + self._inbox.qsize()
