# SPDX-License-Identifier: Apache-2.0
"""What all instances do: hear what came, schedule, compute, deliver.

Threads: this loop alone touches the device and what is scheduled. Others put messages into the inbox and sleep.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

from pd_serving.batch import Batch
from pd_serving.cache import PagedCache
from pd_serving.graphs import DecodeGraphs
from pd_serving.metrics import Metrics
from pd_serving.model import Model
from pd_serving.schedule import Budget, Scheduler, Sequence, Work


@dataclass(frozen=True, slots=True)
class Parts:
    """What an instance is made of. graphs: captured decode steps, or None."""

    name: str
    model: Model
    cache: PagedCache
    budget: Budget
    max_len: int
    graphs: DecodeGraphs | None = None


class Loop:
    """run() in the main thread until stop()."""

    def __init__(self, parts: Parts) -> None:
        self._model = parts.model
        self._graphs = parts.graphs
        self._cache = parts.cache
        self._scheduler = Scheduler(parts.cache, parts.budget)
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self.eos = parts.model.weights.eos
        self.metrics = Metrics(
            parts.name,
            {
                "vllm:num_requests_running": ("Requests in the iteration.", self._running),
                "vllm:num_requests_waiting": ("Requests that wait.", self._waiting),
                "vllm:kv_cache_usage_perc": ("Share of the cache's blocks in use.", lambda: self._cache.usage),
                "pd:waiting_prompt_tokens": ("Prompt tokens that wait.", self._waiting_tokens),
                "pd:running_prompt_tokens": ("Prompt tokens of the requests that are computed.", self._prompt_tokens),
                "pd:running_context_tokens": ("Tokens of context that decode.", self._context),
            },
        )

    def page(self) -> bytes:
        return self.metrics.page()

    def stop(self) -> None:
        """Ends run(). Safe in a signal handler."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        worked = False
        while not self._ending:
            self._receive(wait=not worked)
            self._prepare()
            worked = self._iterate()

    @property
    def _ending(self) -> bool:
        return self._stopping.is_set()

    def _receive(self, *, wait: bool) -> None:
        while wait or not self._inbox.empty():
            message = self._inbox.get()
            wait = False
            if message is not None:
                self._hear(message)

    def _iterate(self) -> bool:
        """False where there was nothing to compute."""
        work = self._scheduler.next()
        if not work:
            return False
        self._starts(work)
        tokens = self._compute(Batch.of(work))
        now = time.monotonic()
        self._count(work, len(tokens))
        ready = self._scheduler.done(work)
        for sequence, token in zip(ready, tokens, strict=True):
            if sequence.decodes:
                self.metrics.gap(now - sequence.at)
            self._deliver(sequence, token, sequence.got(token, now, self.eos))
        self._delivered(now)
        return True

    def _compute(self, batch: Batch) -> list[int]:
        if self._graphs is not None and batch.one_each:
            return self._graphs.step(batch)
        return self._model.step(batch, self._cache)

    def _count(self, work: Work, tokens: int) -> None:
        self.metrics.prompt_tokens.inc(sum(count for sequence, count in work if not sequence.decodes))
        self.metrics.generation_tokens.inc(tokens)
        self.metrics.iteration_tokens.observe(sum(count for _, count in work))

    # --- what an instance does of its own ---

    def _hear(self, message: Any) -> None:
        raise NotImplementedError

    def _prepare(self) -> None:
        """Before each iteration."""

    def _starts(self, work: Work) -> None:
        """An iteration begins."""

    def _deliver(self, sequence: Sequence, token: int, reason: str | None) -> None:
        raise NotImplementedError

    def _delivered(self, now: float) -> None:
        """All tokens of an iteration have been."""

    # --- gauges: read by other threads, over copies ---

    def _running(self) -> float:
        return self._scheduler.active

    def _waiting(self) -> float:
        raise NotImplementedError

    def _waiting_tokens(self) -> float:
        return 0

    def _prompt_tokens(self) -> float:
        return sum(len(each.pending) for each in list(self._scheduler.prompts))

    def _context(self) -> float:
        return sum(each.length for each in list(self._scheduler.running))
