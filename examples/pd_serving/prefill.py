# SPDX-License-Identifier: Apache-2.0
"""The prefill instance: prompts and first tokens; then keys and values go to decode, which makes the other tokens."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pd_serving.front import Front
from pd_serving.handover import Giver, HostGiver, IpcGiver, share
from pd_serving.link import Link, LinkError, Message, connect
from pd_serving.loop import Parts
from pd_serving.pool import Layout, Pool
from pd_serving.schedule import Sequence
from pd_serving.text import Tokenizer
from pd_serving.ticket import Ticket

_LET_GO = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class PrefillOptions:
    """by: "auto", "ipc" or "host". patience: seconds to wait for decode to start."""

    link: Path
    by: str
    patience: float


class _Gone:
    """Decode is."""


class Prefill(Front):
    """LinkError from run() when decode does not come or goes away."""

    def __init__(self, parts: Parts, tokenizer: Tokenizer, options: PrefillOptions) -> None:
        super().__init__(parts, tokenizer)
        self._options = options
        self._layout = Layout.of(parts.model.weights, 1, parts.max_len)
        self._trouble = "waiting for the decode instance"
        self._lost: str | None = None
        self._link: Link
        self._pool: Pool
        self._giver: Giver | None = None
        self._ready: deque[Sequence] = deque()  # they have a first token, and go to decode

    def run(self) -> None:
        options = self._options
        self._link, self._pool = connect(options.link, self._layout, options.patience, self._stopping.is_set)
        reader = threading.Thread(target=self._listen, name="link", daemon=True)
        reader.start()
        try:
            self._link.send({"share": self._shared()})
            super().run()
        finally:
            self._link.finish()
            reader.join(_LET_GO)  # decode closes its end when it has let go of what is shared with it
            self._link.close()
        if self._lost is not None and not self._stopping.is_set():
            raise LinkError(self._lost)

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

    @property
    def _ending(self) -> bool:
        return self._stopping.is_set() or self._lost is not None

    def _listen(self) -> None:
        for message in self._link.messages():
            self._inbox.put(message)
        self._inbox.put(_Gone())

    def _hear(self, message: Any) -> None:
        if isinstance(message, dict):
            self._hear_decode(message)
        elif isinstance(message, _Gone):
            self._lose("it is gone")
        else:
            super()._hear(message)

    def _hear_decode(self, message: Message) -> None:
        if "by" in message:
            self._agree(message["by"], message["why"])
        elif "freed" in message:
            assert self._giver is not None
            self._giver.freed(message["freed"])
        else:
            for number, token, reason in message["tokens"]:
                self._relay(number, token, reason, message["time"])

    def _agree(self, by: str, why: str) -> None:
        if self._options.by == "ipc" and by != "ipc":
            self._lose(f"it cannot read this instance's memory ({why}); use --hand-over auto or host")
            return
        self._giver = IpcGiver(self._cache) if by == "ipc" else HostGiver(self._pool, self._cache)
        told = "NPU memory that decode reads" if by == "ipc" else f"host memory ({why})"
        print(f"prefill hands keys and values over through {told}", flush=True)
        self._trouble = None

    def _lose(self, why: str) -> None:
        link = self._options.link
        self._lost = f"the decode instance at {link}: {why}; start it again, then this one"
        self._trouble = f"the decode instance is gone ({why})"

    def _relay(self, number: int, token: int, reason: str | None, at: float) -> None:
        """A token that decode made; one of a request that has been cancelled may still come."""
        if (ticket := self._tickets.get(number)) is not None:
            ticket.push(token, at, reason)
            if reason is not None:
                self._close(number, reason)

    def _sequence(self, ticket: Ticket) -> Sequence:
        sequence = super()._sequence(ticket)
        sequence.reserve = len(ticket.prompt)
        return sequence

    def _deliver(self, sequence: Sequence, token: int, reason: str | None) -> None:
        super()._deliver(sequence, token, reason)
        if reason is None:
            self._scheduler.leave(sequence)
            self._ready.append(sequence)

    def _delivered(self, now: float) -> None:
        self._prepare()

    def _prepare(self) -> None:
        """Hands over, in order, what decode has room for."""
        while self._ready and self._giver is not None:
            place = self._giver.give(self._ready[0])
            if place is None:
                return
            self._send(_hand_over(self._sequences.pop(self._ready.popleft().number), place))

    def _withdraw(self, number: int) -> None:
        if number not in self._sequences:
            self._send({"cancel": number})  # decode has it, and says when it has let go
            return
        if self._sequences[number] in self._ready:
            self._ready.remove(self._sequences[number])
        super()._withdraw(number)

    def _send(self, message: Message) -> None:
        try:
            self._link.send(message)
        except LinkError:
            self._lose("it is gone")


def _hand_over(sequence: Sequence, place: dict[str, Any]) -> Message:
    sampling = sequence.sampling
    return {
        "hand_over": sequence.number,
        "length": sequence.length,
        "token": sequence.pending[0],
        "time": sequence.at,
        "left": sequence.left,
        "ignore_eos": sequence.ignore_eos,
        "sampling": None if sampling is None else [sampling.temperature, sampling.top_p, sampling.seed],
        **place,
    }
