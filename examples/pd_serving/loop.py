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

from pd_serving.cache import PagedCache
from pd_serving.graphs import DecodeGraphs
from pd_serving.metrics import Gauges, Metrics
from pd_serving.model import Model
from pd_serving.schedule import Budget, Scheduler, Sequence, Work
from pd_serving.steps import Steps


@dataclass(frozen=True, slots=True)
class Parts:
    """What an instance is made of. ahead: decode steps that are launched without waiting for tokens; graphs: captured
    ones, or None."""

    name: str
    model: Model
    cache: PagedCache
    budget: Budget
    max_len: int
    ahead: int = 1
    graphs: DecodeGraphs | None = None


class Loop:
    """run() in the main thread until stop()."""

    def __init__(self, parts: Parts) -> None:
        self._model = parts.model
        self._cache = parts.cache
        self._steps = Steps(parts.model, parts.cache, parts.graphs)
        self._ahead = parts.ahead
        self._scheduler = Scheduler(parts.cache, parts.budget)
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self.eos = parts.model.weights.eos
        self.metrics = Metrics(parts.name, self._gauges())
        self.draining = False  # set by whoever asks over HTTP; new work is to go to others, where there are any
        self._turns = 0  # grows while the loop gets on
        self._asleep = False

    def page(self) -> bytes:
        return self.metrics.page()

    def health(self) -> dict[str, Any]:
        """What /health says beside the status."""
        return {}

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
            self._turns += 1

    @property
    def _ending(self) -> bool:
        return self._stopping.is_set()

    def _receive(self, *, wait: bool) -> None:
        while wait or not self._inbox.empty():
            self._asleep = wait
            message = self._inbox.get()
            wait = self._asleep = False
            if message is not None:
                self._hear(message)

    def _iterate(self) -> bool:
        """False where there was nothing to compute."""
        work = self._scheduler.next()
        if not work:
            return False
        self._starts(work)
        # A prompt that is under way, or about to be, takes its part of every iteration.
        for part, tokens in self._steps.run(work, 1 if self._scheduler.prompts else self._ahead):
            self._settle(part, tokens)
        return True

    def _settle(self, work: Work, tokens: list[int]) -> None:
        """One step has been computed. What it made of sequences that were over before it is left out."""
        now = time.monotonic()
        self._turns += 1
        ready = self._scheduler.done(work)
        live = [(sequence, token) for sequence, token in zip(ready, tokens, strict=True) if not sequence.over]
        self._count([(sequence, count) for sequence, count in work if not sequence.over], len(live))
        for sequence, token in live:
            if sequence.decodes:
                self.metrics.gap(now - sequence.at)
            self._deliver(sequence, token, sequence.got(token, now, self.eos))
        self._delivered(now)

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

    def _gauges(self) -> Gauges:
        return {
            "vllm:num_requests_running": ("Requests in the iteration.", self._running),
            "vllm:num_requests_waiting": ("Requests that wait.", self._waiting),
            "vllm:kv_cache_usage_perc": ("Share of the cache's blocks in use.", lambda: self._cache.usage),
            "pd:waiting_prompt_tokens": ("Prompt tokens that wait.", self._waiting_tokens),
            "pd:running_prompt_tokens": ("Prompt tokens of the requests that are computed.", self._prompt_tokens),
            "pd:running_context_tokens": ("Tokens of context that decode.", self._context),
        }

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
