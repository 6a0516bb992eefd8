# SPDX-License-Identifier: Apache-2.0
"""Prompts of one device: who waits, who is half run, and the chunks of the next iteration."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from flexnpu.forecast.load import Load
from flexnpu.simulator.kv import KvCache
from flexnpu.simulator.request import Request


class Chunks(NamedTuple):
    """What the prompts put into one iteration."""

    parts: list[tuple[Request, int]]  # tokens each
    load: Load


NOTHING = Chunks([], Load())


class Prompts:
    """First come, first served, unless a policy reorders who waits; half-run prompts go before those who wait."""

    __slots__ = ("_refused", "half_run", "tokens", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self.half_run: list[Request] = []
        self.tokens = 0  # still to be computed, prefix reuse not foreseen
        self._refused = (-1, -1, -1)  # who was refused blocks, with how many free and what cached

    def __len__(self) -> int:
        return len(self.waiting) + len(self.half_run)

    def put(self, request: Request) -> None:
        self.waiting.append(request)
        self.tokens += request.target

    def put_back(self, request: Request) -> None:
        """A preempted request: it goes first and computes all that it had again."""
        if request.computed < request.target:
            self.half_run.remove(request)
            self.tokens -= request.target - request.computed
        request.computed = 0
        request.target = request.prompt + request.generated
        self.tokens += request.target
        self.waiting.appendleft(request)

    def reorder(self, order: tuple[int, ...]) -> None:
        """Who goes first, as places in half_run followed by waiting; who is not named keeps its place behind."""
        half = len(self.half_run)
        queue = [self.waiting.popleft() for _ in range(min(len(self.waiting), max(order, default=-1) - half + 1))]
        chosen = [place - half for place in order if place >= half]
        rest = sorted(set(range(len(queue))).difference(chosen))
        self.waiting.extendleft(queue[place] for place in reversed([*chosen, *rest]))

    def fill(self, budget: int, room: int, kv: KvCache, admitted: dict[int, Request]) -> Chunks:
        """Chunks of at most `budget` tokens; at most `room` requests are admitted, as long as their blocks are free."""
        parts: list[tuple[Request, int]] = []
        tokens = pairs = seen = 0
        place = 0
        half_run = self.half_run
        while budget > 0:
            if place == len(half_run):
                if room <= 0 or not self.waiting or not self._admit(kv, admitted):
                    break
                room -= 1
            request = half_run[place]
            place += 1
            cached = request.computed
            new = min(budget, request.target - cached)
            parts.append((request, new))
            budget -= new
            tokens += new
            pairs += new * cached + new * (new + 1) // 2
            seen += new + cached
        if not parts:
            return NOTHING
        return Chunks(parts, Load(tokens, len(parts), pairs, seen, 0, 0, len(parts)))

    def _admit(self, kv: KvCache, admitted: dict[int, Request]) -> bool:
        request = self.waiting[0]
        if self.refused(kv):
            return False
        if not kv.admit(request):
            self._refused = (request.index, kv.free, kv.version)
            return False
        self.waiting.popleft()
        self.half_run.append(request)
        self.tokens -= request.computed
        if request.cached < 0:
            request.cached = request.computed
        admitted[request.index] = request
        return True

    def refused(self, kv: KvCache) -> bool:
        """Whether the first who waits has been refused blocks and nothing has changed for the better."""
        index, free, version = self._refused
        return bool(self.waiting) and index == self.waiting[0].index and kv.free <= free and kv.version == version

    def ran(self, chunks: Chunks, kv: KvCache) -> list[Request]:
        """Book the chunks of an iteration that is over; those whose prompt is complete are taken out."""
        complete = []
        for request, new in chunks.parts:
            request.computed += new
            self.tokens -= new
            kv.computed(request)
            if request.computed >= request.target:
                complete.append(request)
        if complete:
            self.half_run = [request for request in self.half_run if request.computed < request.target]
        return complete
