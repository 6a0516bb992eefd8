# SPDX-License-Identifier: Apache-2.0
"""The decode instance: continuous batching over what prefill hands over, one token per running sequence and step.

A sequence gets cache blocks for all it may grow to when it joins, so that none is ever put back. At most one hand-over
is taken in between two steps, so that a burst of them does not hold up those that run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pd_serving.graphs import DecodeGraphs
from pd_serving.link import Link, LinkError, Listener, Message
from pd_serving.metrics import Metrics
from pd_serving.model import Model, PagedCache, blocks_for
from pd_serving.options import BLOCK
from pd_serving.pool import Layout, Pool, Staging
from pd_serving.ticket import RequestError, Ticket


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """blocks: cache blocks. slots: hand-over slots in host memory. graphs: steps are captured, see graphs.py."""

    link: Path
    max_len: int
    max_batch: int
    blocks: int
    slots: int
    graphs: bool = False


@dataclass(slots=True, eq=False)
class Sequence:
    """A request that decodes. length: tokens whose keys and values are in the cache."""

    number: int
    slot: int
    length: int
    last: int
    at: float
    left: int
    ignore_eos: bool
    stream: bool
    link: Link
    blocks: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def row(self) -> int:
        """Where the next token's keys and values go in the cache."""
        return self.blocks[self.length // BLOCK] * BLOCK + self.length % BLOCK


class DecodeEngine:
    """run() in the main thread until stop(); a thread of its own listens to the prefill instance."""

    def __init__(self, model: Model, options: DecodeOptions) -> None:
        self._model = model
        self._options = options
        layout = Layout.of(model.weights, options.slots, options.max_len)
        self._pool = Pool.create(layout)
        self._staging = Staging(layout, model.device)
        self._cache = PagedCache(model.weights, options.blocks)
        self._graphs = DecodeGraphs(model, self._cache, blocks_for(options.max_len)) if options.graphs else None
        self._listener = Listener(options.link, self._pool)
        self._link: Link | None = None
        self._stopping = threading.Event()
        self._inbox: queue.SimpleQueue[Sequence | Link | None] = queue.SimpleQueue()
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._table: Tensor | None = None
        self.metrics = Metrics(
            {
                "vllm:num_requests_running": ("Requests in the batch.", lambda: len(self._running)),
                "vllm:num_requests_waiting": ("Requests handed over that wait.", self._waiting_requests),
                "vllm:kv_cache_usage_perc": ("Share of the cache in use.", self._usage),
                "pd:running_context_tokens": ("Tokens of context in the batch.", self._context),
            }
        )

    @property
    def trouble(self) -> str | None:
        return "the engine has been stopped" if self._stopping.is_set() else None

    def page(self) -> bytes:
        return self.metrics.page()

    def submit(self, body: Any) -> Ticket:
        raise RequestError("this is the decode instance; send requests to the prefill instance")

    def stop(self) -> None:
        """Ends run(). Safe in a signal handler."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        threading.Thread(target=self._listen, name="link", daemon=True).start()
        try:
            while not self._stopping.is_set():
                self._receive()
                self._admit()
                if self._running:
                    self._step()
        finally:
            self._listener.close()
            if self._link is not None:
                self._link.close()

    def _listen(self) -> None:
        while (link := self._listener.accept()) is not None:
            self._link = link
            for message in link.messages():
                self._inbox.put(_sequence(message["hand_over"], message, link))
            self._inbox.put(link)

    def _receive(self) -> None:
        """Takes what came; sleeps when there is nothing to do."""
        idle = not self._running and not self._waiting
        while idle or not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, Sequence):
                self._waiting.append(item)
            elif isinstance(item, Link):
                self._forget(item)
            if self._stopping.is_set() or self._waiting:
                idle = False

    def _forget(self, link: Link) -> None:
        """That prefill instance is gone, and with it whoever asked."""
        self._waiting = deque(each for each in self._waiting if each.link is not link)
        for each in [each for each in self._running if each.link is link]:
            self._leave(each)
        link.close()

    def _admit(self) -> None:
        """One hand-over, in order of arrival; the next one waits for the next step while others run."""
        while self._waiting and len(self._running) < self._options.max_batch:
            first = self._waiting[0]
            blocks = self._cache.take(first.length + first.left)
            if blocks is None:
                return
            self._waiting.popleft()
            first.blocks = blocks
            self._load(first)
            if len(self._running) > 1:
                return

    def _load(self, sequence: Sequence) -> None:
        place = self._pool.slot(sequence.slot, sequence.length)
        self._cache.fill(sequence.blocks, self._staging.to_device(place))
        self._synchronize()  # the slot is prefill's again only when it has been read
        self._running.append(sequence)
        self._table = None
        self._tell(sequence, {"freed": sequence.slot})

    def _synchronize(self) -> None:
        if self._model.device.type == "npu":
            torch.npu.current_stream().synchronize()

    def _step(self) -> None:
        rows = [(each.last, each.length, each.row) for each in self._running]
        if self._graphs is not None:
            tokens = self._graphs.decode(rows, [each.blocks for each in self._running])
        else:
            tokens = self._decode(rows)
        self._account(tokens, time.monotonic())

    def _decode(self, rows: list[tuple[int, int, int]]) -> list[int]:
        if self._table is None:
            self._table = self._block_table()
        lengths = [length + 1 for _, length, _ in rows]
        return self._model.decode(torch.tensor(rows).T.contiguous(), self._table, lengths, self._cache)

    def _block_table(self) -> Tensor:
        widest = max(len(each.blocks) for each in self._running)
        rows = [each.blocks + [0] * (widest - len(each.blocks)) for each in self._running]
        return torch.tensor(rows, dtype=torch.int32).to(self._model.device)

    def _account(self, tokens: list[int], now: float) -> None:
        metrics, eos = self.metrics, self._model.weights.eos
        metrics.generation_tokens.inc(len(tokens))
        metrics.iteration_tokens.observe(len(tokens))
        over: list[tuple[Sequence, str]] = []
        for each, token in zip(self._running, tokens, strict=True):
            metrics.inter_token.observe(now - each.at)
            each.at, each.last = now, token
            each.length += 1
            each.left -= 1
            each.tokens.append(token)
            each.times.append(now)
            if each.stream:
                self._tell(each, {"request": each.number, "token": token, "time": now})
            if not each.ignore_eos and token in eos:
                over.append((each, "stop"))
            elif each.left == 0:
                over.append((each, "length"))
        for each, reason in over:
            self._leave(each)
            self._tell(each, {"request": each.number, "done": reason, "tokens": each.tokens, "times": each.times})

    def _leave(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self._cache.give_back(sequence.blocks)
        self._table = None

    def _tell(self, sequence: Sequence, message: Message) -> None:
        with suppress(LinkError):  # the listening thread sees the same, and its note comes through the inbox
            sequence.link.send(message)

    def _waiting_requests(self) -> float:
        return len(self._waiting) + self._inbox.qsize()

    def _usage(self) -> float:
        return 1 - self._cache.free / max(1, self._cache.blocks)

    def _context(self) -> float:
        return sum(each.length for each in list(self._running))


def _sequence(number: int, message: Message, link: Link) -> Sequence:
    return Sequence(
        number=number,
        slot=message["slot"],
        length=message["length"],
        last=message["token"],
        at=message["time"],
        left=message["max_tokens"],
        ignore_eos=message["ignore_eos"],
        stream=message["stream"],
        link=link,
    )
