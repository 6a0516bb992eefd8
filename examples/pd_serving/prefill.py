# SPDX-License-Identifier: Apache-2.0
"""The prefill instance: prompts and first tokens; then keys and values go to decode, which makes the other tokens.

What a decode instance had when it was lost is computed again, prompt and tokens that were given, and goes to another
one, or to the one that comes back.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pd_serving.errors import RequestError
from pd_serving.front import Front
from pd_serving.handover import HostGiver, IpcGiver, message_of, share
from pd_serving.link import LinkError, Message
from pd_serving.loop import Parts
from pd_serving.metrics import Gauges
from pd_serving.peer import Closed, Lost, Peer, Said, Session
from pd_serving.pool import Layout
from pd_serving.schedule import Sequence
from pd_serving.text import Tokenizer
from pd_serving.ticket import Ticket

_LET_GO = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class PrefillOptions:
    """by: "auto", "ipc" or "host". patience: seconds that requests wait while there is no decode instance; queue: how
    many; give_up: seconds of silence after which one is taken for dead."""

    links: list[Path]
    by: str
    patience: float
    give_up: float
    queue: int


class Prefill(Front):
    """LinkError from run() when no decode instance comes in the first place."""

    def __init__(self, parts: Parts, tokenizer: Tokenizer, options: PrefillOptions) -> None:
        super().__init__(parts, tokenizer)
        self._options = options
        layout = Layout.of(parts.model.weights, 1, parts.max_len)
        self._peers = [Peer(path, layout, options.give_up, self._inbox.put) for path in options.links]
        self._sessions: list[Session] = []
        self._ready: deque[Sequence] = deque()  # they have a token, and go to decode
        self._trouble = "waiting for the decode instance"
        self._alone: float | None = time.monotonic()  # since when there is no decode instance
        self._met = False
        self._failed: str | None = None

    def submit(self, ticket: Ticket) -> None:
        if self._alone is not None and len(self._tickets) >= self._options.queue:
            raise RequestError(
                f"no decode instance is there, and {self._options.queue} requests wait for one",
                status=HTTPStatus.SERVICE_UNAVAILABLE,
            )
        super().submit(ticket)

    def health(self) -> dict[str, Any]:
        sessions = {session.path: session for session in list(self._sessions)}
        return {"decode": [_state(peer, sessions.get(peer.path)) for peer in self._peers]}

    def run(self) -> None:
        over = threading.Event()
        for peer in self._peers:
            peer.start(over)
        try:
            super().run()
        finally:
            over.set()
            for session in self._sessions:
                session.link.finish()
            deadline = time.monotonic() + _LET_GO
            for peer in self._peers:
                peer.join(deadline)  # decode closes its end when it has let go of what is shared with it
        if self._failed is not None and not self._stopping.is_set():
            raise LinkError(self._failed)

    @property
    def _ending(self) -> bool:
        return self._stopping.is_set() or self._failed is not None

    def _hear(self, message: Any) -> None:
        match message:
            case Session():
                self._meet(message)
            case Said(session, said):
                if session in self._sessions:
                    self._hear_decode(session, said)
            case Lost(session, why):
                self._lose(session, why)
            case Closed(session):
                if session.giver is not None:
                    session.giver.let_go()
            case _:
                super()._hear(message)

    def _meet(self, session: Session) -> None:
        self._sessions.append(session)
        self._send(session, {"share": self._shared()})

    def _shared(self) -> dict[str, Any] | None:
        """How decode may open the cache; None where it shall not, or where this torch_npu has no way."""
        if self._options.by == "host" or self._model.device.type != "npu":
            return None
        try:
            return share(self._cache.store)
        except (RuntimeError, AttributeError) as error:
            if self._options.by == "ipc":
                raise LinkError(f"the cache cannot be shared ({error}); use --hand-over auto or host") from error
            return None

    def _hear_decode(self, session: Session, message: Message) -> None:
        session.others = message.get("others", session.others)
        session.draining = message.get("draining", session.draining)
        if "by" in message:
            self._agree(session, message["by"], message["why"])
        elif "freed" in message:
            assert session.giver is not None
            session.giver.freed(message["freed"])
        else:
            for number, token, reason in message.get("tokens", ()):
                self._relay(session, number, token, reason, message["time"])

    def _agree(self, session: Session, by: str, why: str) -> None:
        if self._options.by == "ipc" and by != "ipc":
            self._failed = (
                f"the decode instance at {session.path} cannot read this instance's memory ({why}); "
                "use --hand-over auto or host"
            )
            return
        shared = by == "ipc"
        slots = session.pool.layout.slots
        session.giver = IpcGiver(self._cache, slots) if shared else HostGiver(session.pool, self._cache)
        told = "NPU memory that decode reads" if shared else f"host memory ({why})"
        print(f"prefill hands keys and values over to {session.path} through {told}", flush=True)
        self._alone = self._trouble = None
        self._met = True

    def _relay(self, session: Session, number: int, token: int, reason: str | None, at: float) -> None:
        """A token that decode made; one of a request that has been cancelled may still come."""
        if number not in session.requests:
            return
        self._tickets[number].push(token, at, reason)
        if reason is not None:
            session.requests.remove(number)
            self._close(number, reason)

    # --- when there is no decode instance, or one less ---

    def _lose(self, session: Session, why: str) -> None:
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        for number in sorted(session.requests, reverse=True):
            self._again(self._tickets[number])
        print(
            f"prefill has lost the decode instance at {session.path} ({why}); "
            f"{len(session.requests)} requests are computed again",
            file=sys.stderr,
            flush=True,
        )
        session.requests.clear()
        if not any(each.giver is not None for each in self._sessions):
            self._alone = self._alone or time.monotonic()

    def _again(self, ticket: Ticket) -> None:
        self.metrics.preemptions.inc()
        ticket.began = None
        self._sequences[ticket.number] = self._sequence(ticket)
        self._scheduler.put_first(self._sequences[ticket.number])

    def _check_patience(self) -> None:
        if self._alone is None or time.monotonic() - self._alone < self._options.patience:
            return
        found = "; ".join(f"{peer.path}: {peer.trouble}" for peer in self._peers)
        why = f"no decode instance for {self._options.patience:g} s ({found})"
        if not self._met:
            self._failed = why
        self._trouble = why
        for ticket in list(self._tickets.values()):
            self._withdraw(ticket.number)
            del self._tickets[ticket.number]  # which nobody else does while this loop runs
            ticket.fail(why)

    # --- hand-over ---

    def _sequence(self, ticket: Ticket) -> Sequence:
        sequence = super()._sequence(ticket)
        sequence.reserve = len(sequence.pending)
        return sequence

    def _deliver(self, sequence: Sequence, token: int, reason: str | None) -> None:
        super()._deliver(sequence, token, reason)
        if reason is None:
            self._scheduler.leave(sequence)
            self._ready.append(sequence)

    def _delivered(self, now: float) -> None:
        self._prepare()

    def _prepare(self) -> None:
        """Hands over, in order, each to the decode instance that has the least to do, of those that have room."""
        self._check_patience()
        while self._ready and (able := [each for each in self._takers() if each.has_room]):
            self._hand_over(min(able, key=lambda each: each.load))

    def _takers(self) -> list[Session]:
        """Those that take new requests; where none does, all: nothing is to wait for ever."""
        return [each for each in self._sessions if not each.draining and not each.silent] or self._sessions

    def _hand_over(self, session: Session) -> None:
        assert session.giver is not None
        sequence = self._ready.popleft()
        message = message_of(sequence, session.giver.give(sequence))
        del self._sequences[sequence.number]
        session.requests.add(sequence.number)
        self._send(session, message)

    def _withdraw(self, number: int) -> None:
        sequence = self._sequences.get(number)
        if sequence is None:
            for session in self._sessions:
                if number in session.requests:
                    session.requests.remove(number)
                    self._send(session, {"cancel": number})  # it says when it has let go
                    return
        elif sequence in self._ready:
            self._ready.remove(sequence)
        super()._withdraw(number)

    def _send(self, session: Session, message: Message) -> None:
        try:
            session.link.send(message)
        except LinkError as error:
            session.link.finish()
            self._lose(session, str(error))

    def _gauges(self) -> Gauges:
        return {**super()._gauges(), "pd:decode_instances": ("Decode instances that are there.", self._there)}

    def _there(self) -> float:
        return sum(each.giver is not None for each in list(self._sessions))


def _state(peer: Peer, session: Session | None) -> dict[str, Any]:
    if session is None:
        return {"link": str(peer.path), "state": "lost", "why": peer.trouble}
    state = "agreeing" if session.giver is None else "silent" if session.silent else "ready"
    requests = len(session.requests)
    return {"link": str(peer.path), "state": state, "requests": requests, "draining": session.draining}
