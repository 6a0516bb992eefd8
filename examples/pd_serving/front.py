# SPDX-License-Identifier: Apache-2.0
"""Instances that take requests: `both`, which is one engine of prefill and decode, and what `prefill` has from it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus

from pd_serving.errors import RequestError
from pd_serving.loop import Loop, Parts
from pd_serving.protocol import Protocol
from pd_serving.schedule import Sequence, Work
from pd_serving.text import Tokenizer
from pd_serving.ticket import Limits, Ticket

_STOPPED = "the engine has been stopped"


@dataclass(frozen=True, slots=True)
class _Cancel:
    ticket: Ticket
    reason: str


class Front(Loop):
    """Chunks of prompts and single tokens of running sequences, in the same iterations."""

    def __init__(self, parts: Parts, tokenizer: Tokenizer) -> None:
        super().__init__(parts)
        longest = parts.max_len - 1 if parts.budget.cut else min(parts.max_len - 1, parts.budget.tokens)
        limits = Limits(parts.model.weights.vocabulary, longest, parts.max_len)
        self.protocol = Protocol(parts.name, limits, tokenizer)
        self._tickets: dict[int, Ticket] = {}
        self._sequences: dict[int, Sequence] = {}  # those that are computed here, or wait for it
        self._trouble: str | None = None
        self._ended = False

    @property
    def trouble(self) -> str | None:
        return self._trouble

    def submit(self, ticket: Ticket) -> None:
        if self._trouble is None:
            self._tickets[ticket.number] = ticket
            self._inbox.put(ticket)
            if not self._ended or self._tickets.pop(ticket.number, None) is None:
                return  # the loop has it, or has told it
        raise RequestError(self._trouble or _STOPPED, status=HTTPStatus.SERVICE_UNAVAILABLE)

    def cancel(self, ticket: Ticket, reason: str) -> None:
        self._inbox.put(_Cancel(ticket, reason))

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._end(_STOPPED)

    def _end(self, why: str) -> None:
        self._trouble = self._trouble or why
        self._ended = True
        for ticket in list(self._tickets.values()):
            ticket.fail(self._trouble)
        self._tickets.clear()

    def _hear(self, message: Ticket | _Cancel) -> None:
        ticket = message if isinstance(message, Ticket) else message.ticket
        if ticket.number not in self._tickets:
            return  # it is over
        if isinstance(message, Ticket):
            self._sequences[message.number] = self._sequence(message)
            self._scheduler.add(self._sequences[message.number])
        else:
            self._withdraw(message.ticket.number)
            self._close(message.ticket.number, message.reason)
            message.ticket.end(message.reason)

    def _sequence(self, ticket: Ticket) -> Sequence:
        """To be computed from the beginning, with the tokens that it has got."""
        return Sequence(
            number=ticket.number,
            pending=ticket.prompt + ticket.tokens,
            reserve=len(ticket.prompt) + ticket.max_tokens,
            left=ticket.max_tokens - len(ticket.tokens),
            ignore_eos=ticket.ignore_eos,
            sampling=ticket.sampling,
            made=len(ticket.tokens),
            at=ticket.times[-1] if ticket.times else 0.0,
        )

    def _withdraw(self, number: int) -> None:
        """Nothing more of it is computed."""
        if (sequence := self._sequences.pop(number, None)) is not None:
            self._scheduler.drop(sequence)

    def _starts(self, work: Work) -> None:
        for sequence, _ in work:
            ticket = self._tickets[sequence.number]
            if ticket.began is None:
                ticket.began = time.monotonic()
                if not ticket.tokens:
                    self.metrics.queue_time.observe(ticket.began - ticket.arrived)

    def _deliver(self, sequence: Sequence, token: int, reason: str | None) -> None:
        ticket = self._tickets[sequence.number]
        if sequence.made == 1:
            self.metrics.first_token.observe(sequence.at - ticket.arrived)
        ticket.push(token, sequence.at, reason)
        if reason is not None:
            self._withdraw(sequence.number)
            self._close(sequence.number, reason)

    def _close(self, number: int, reason: str) -> None:
        self.metrics.over(self._tickets.pop(number), reason, time.monotonic())

    def _waiting(self) -> float:
        return sum(ticket.began is None for ticket in list(self._tickets.values()))

    def _waiting_tokens(self) -> float:
        waiting = [ticket for ticket in list(self._tickets.values()) if ticket.began is None]
        return sum(len(ticket.prompt) + len(ticket.tokens) for ticket in waiting)
