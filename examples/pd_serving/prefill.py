# SPDX-License-Identifier: Apache-2.0
"""The prefill instance: prompts first in, first out, in batches up to a token budget; keys and values go to decode.

Threads: this loop alone touches the device. HTTP threads put tickets into the inbox, the link's thread puts answers to
tickets and freed slots; both sleep otherwise.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pd_serving.link import Link, LinkError, Message, connect
from pd_serving.metrics import Metrics
from pd_serving.model import LaunchWindow, Model
from pd_serving.options import BLOCK
from pd_serving.pool import Layout, Pool, Staging
from pd_serving.ticket import Limits, Ticket, parse


@dataclass(frozen=True, slots=True)
class PrefillOptions:
    """budget: prompt tokens in one iteration. run_ahead: layers launched before the oldest has run; 0 for no bound."""

    link: Path
    max_len: int
    budget: int
    run_ahead: int
    patience: float


class _Load:
    """What waits and runs, as the metrics tell it; requests count from the moment they arrive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waiting = self.waiting_tokens = self.running = self.running_tokens = 0

    def arrive(self, tokens: int) -> None:
        with self._lock:
            self.waiting += 1
            self.waiting_tokens += tokens

    def start(self, batch: list[Ticket]) -> None:
        tokens = sum(len(ticket.prompt) for ticket in batch)
        with self._lock:
            self.waiting -= len(batch)
            self.waiting_tokens -= tokens
            self.running, self.running_tokens = len(batch), tokens

    def end(self) -> None:
        with self._lock:
            self.running = self.running_tokens = 0


class PrefillEngine:
    """Takes requests, answers them; run() in the main thread until stop()."""

    def __init__(self, model: Model, options: PrefillOptions) -> None:
        weights = model.weights
        self._model = model
        self._options = options
        self._layout = Layout.of(weights, 1, options.max_len)
        self._limits = Limits(weights.vocabulary, min(options.max_len - 1, options.budget), options.max_len)
        self._load = _Load()
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._free_slots: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._waiting: deque[Ticket] = deque()
        self._open: dict[int, Ticket] = {}
        self._trouble: str | None = "waiting for the decode instance"
        self._lost = False
        self._stopping = threading.Event()
        self._window = LaunchWindow(model.device, options.run_ahead)
        # One block more than the budget: a hand-over is cut in whole blocks, and the last one's end is never read.
        rows = options.budget + BLOCK
        like = weights.embedding
        self._kv = torch.empty(
            (len(weights.layers), 2, rows, weights.heads.kv_width), dtype=like.dtype, device=model.device
        )
        self._staging = Staging(self._layout, model.device)
        self._slots_used = 0
        self.metrics = Metrics(
            {
                "vllm:num_requests_running": ("Requests in the iteration.", lambda: self._load.running),
                "vllm:num_requests_waiting": ("Requests that wait.", lambda: self._load.waiting),
                "vllm:kv_cache_usage_perc": ("Share of the hand-over slots in use.", self._usage),
                "pd:waiting_prompt_tokens": ("Prompt tokens that wait.", lambda: self._load.waiting_tokens),
                "pd:running_prompt_tokens": ("Prompt tokens in the iteration.", lambda: self._load.running_tokens),
            }
        )

    @property
    def trouble(self) -> str | None:
        return self._trouble

    def page(self) -> bytes:
        return self.metrics.page()

    def submit(self, body: Any) -> Ticket:
        ticket = parse(body, self._limits)
        self._open[ticket.number] = ticket
        self._load.arrive(len(ticket.prompt))
        self._inbox.put(ticket)
        return ticket

    def stop(self) -> None:
        """Ends run(). Safe in a signal handler."""
        self._stopping.set()
        self._inbox.put(None)
        self._free_slots.put(None)

    def run(self) -> None:
        """LinkError when decode does not come or goes away."""
        link, pool = connect(self._options.link, self._layout, self._options.patience, self._stopping.is_set)
        for slot in range(pool.layout.slots):
            self._free_slots.put(slot)
        reader = threading.Thread(target=self._listen, args=(link,), name="link", daemon=True)
        reader.start()
        self._trouble = None
        try:
            while batch := self._next_batch():
                self._iterate(batch, link, pool)
        finally:
            self._end(
                "the engine has been stopped" if self._stopping.is_set() else f"decode at {self._options.link} is gone"
            )
            link.close()
        if self._lost and not self._stopping.is_set():
            raise LinkError(f"the decode instance at {self._options.link} is gone; start it again, then this one")

    def _next_batch(self) -> list[Ticket]:
        """Waits for work; empty when it is time to end."""
        if not self._waiting:
            self._take(self._inbox.get())
        while not self._ending and not self._inbox.empty():
            self._take(self._inbox.get())
        batch: list[Ticket] = []
        room = self._options.budget
        while self._waiting and not self._ending and len(self._waiting[0].prompt) <= room:
            batch.append(self._waiting.popleft())
            room -= len(batch[-1].prompt)
        return batch

    def _take(self, ticket: Ticket | None) -> None:
        if ticket is not None:
            self._waiting.append(ticket)

    @property
    def _ending(self) -> bool:
        return self._lost or self._stopping.is_set()

    def _iterate(self, batch: list[Ticket], link: Link, pool: Pool) -> None:
        self._load.start(batch)
        lengths = [len(ticket.prompt) for ticket in batch]
        ids = torch.tensor([token for ticket in batch for token in ticket.prompt])
        tokens = self._model.prefill(ids, lengths, self._kv, self._window)
        now = time.monotonic()
        self._count(batch, now)
        start = 0
        for ticket, token in zip(batch, tokens, strict=True):
            ticket.first_token(token, now)
            if reason := self._over(ticket, token):
                self._close(ticket, [], [], reason)
            elif not self._hand_over(ticket, start, link, pool):
                return
            start += len(ticket.prompt)
        self._load.end()

    def _over(self, ticket: Ticket, token: int) -> str | None:
        if not ticket.ignore_eos and token in self._model.weights.eos:
            return "stop"
        return "length" if ticket.max_tokens == 1 else None

    def _count(self, batch: list[Ticket], now: float) -> None:
        tokens = sum(len(ticket.prompt) for ticket in batch)
        self.metrics.prompt_tokens.inc(tokens)
        self.metrics.generation_tokens.inc(len(batch))
        self.metrics.iteration_tokens.observe(tokens)
        for ticket in batch:
            self.metrics.first_token.observe(now - ticket.arrived)

    def _hand_over(self, ticket: Ticket, start: int, link: Link, pool: Pool) -> bool:
        """Waits for a slot while decode has no room: what is running there must go on first."""
        slot = self._free_slots.get()
        if slot is None or self._ending:
            return False
        self._slots_used += 1
        length = len(ticket.prompt)
        place = pool.slot(slot, length)
        rows = place.shape[2] * place.shape[3]
        self._staging.to_host(self._kv[:, :, start : start + rows], place)
        try:
            link.send(
                {
                    "hand_over": ticket.number,
                    "slot": slot,
                    "length": length,
                    "token": ticket.tokens[-1],
                    "time": ticket.times[-1],
                    "max_tokens": ticket.max_tokens - 1,
                    "ignore_eos": ticket.ignore_eos,
                    "stream": ticket.stream,
                }
            )
        except LinkError:
            return False
        return True

    def _usage(self) -> float:
        return self._slots_used / max(1, self._slots_used + self._free_slots.qsize())

    def _listen(self, link: Link) -> None:
        for message in link.messages():
            self._hear(message)
        self._lost = True
        self._trouble = "the decode instance is gone"
        self._inbox.put(None)
        self._free_slots.put(None)

    def _hear(self, message: Message) -> None:
        if "freed" in message:
            self._slots_used -= 1
            self._free_slots.put(message["freed"])
            return
        ticket = self._open.get(message["request"])
        if ticket is None:
            return
        if "done" in message:
            self._close(ticket, message["tokens"], message["times"], message["done"])
        else:
            ticket.events.put({"token": message["token"], "time": message["time"]})

    def _close(self, ticket: Ticket, tokens: list[int], times: list[float], reason: str) -> None:
        self._open.pop(ticket.number, None)
        ticket.finish(tokens, times, reason)

    def _end(self, why: str) -> None:
        self._trouble = self._trouble or why
        for ticket in list(self._open.values()):
            ticket.fail(why)
        self._open.clear()
