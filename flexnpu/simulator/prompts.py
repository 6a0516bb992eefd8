# SPDX-License-Identifier: Apache-2.0
"""Prompts of one device: who waits, who is half run, and the chunks of the next iteration."""

from __future__ import annotations

from typing import NamedTuple

from flexnpu.forecast.load import Load
from flexnpu.simulator.kv import KvCache
from flexnpu.simulator.request import Request
from flexnpu.simulator.waiting import Waiting


class Chunks(NamedTuple):
    """What the prompts put into one iteration."""

    parts: list[tuple[Request, int]]  # tokens each
    load: Load

    def times(self, count: int) -> Chunks:
        """What so many iterations of it have run; the load stays one iteration's."""
        return self if count == 1 else Chunks([(request, new * count) for request, new in self.parts], self.load)


NOTHING = Chunks([], Load())


class Prompts:
    """First come, first served, unless a policy orders otherwise; half-run prompts go before those who wait."""

    __slots__ = ("_ahead", "_refused", "_whole", "changes", "half_run", "tokens", "waiting")

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole  # prompts are never cut
        self.waiting = Waiting()
        self.half_run: list[Request] = []
        self.tokens = 0  # still to be computed, prefix reuse not foreseen
        self.changes = 0  # of the queue: a request came, was admitted or was put back
        self._ahead = 0  # of those who wait, how many a policy wants before the half-run ones
        self._refused = (-1, -1, -1)  # who was refused blocks, with how many free and what cached

    def __len__(self) -> int:
        return len(self.waiting) + len(self.half_run)

    def put(self, request: Request) -> None:
        self.waiting.append(request)
        self.tokens += request.target
        self.changes += 1

    def put_back(self, request: Request, now: float) -> None:
        """A preempted request: it goes first and computes all that it had again."""
        if request.computed < request.target:
            self.half_run.remove(request)
            self.tokens -= request.target - request.computed
        request.computed = 0
        request.target = request.prompt + request.generated
        if request.generated:
            request.since = now
        self.tokens += request.target
        self.waiting.put_first(request)
        self.changes += 1

    def reorder(self, half: list[Request], among: int, order: tuple[int, ...]) -> None:
        """Who goes first, as places in what was shown: those half-run prompts, then the first `among` who wait."""
        count = len(half)
        if count == 1:
            named = [0] if 0 in order else []
        else:
            named = [place for place in order if place < count] if count else []
        self._ahead = order.index(named[0]) if named else 0
        if named != list(range(len(self.half_run))):
            wanted = [half[place] for place in named]
            chosen = {request.index for request in wanted}
            self.half_run = wanted + [request for request in self.half_run if request.index not in chosen]
        if count == 1 and named:
            order = order[: self._ahead] + order[self._ahead + 1 :]
        elif count:
            order = tuple([place for place in order if place >= count])
        self.waiting.reorder(order, among, count)

    def fill(self, budget: int, room: int, kv: KvCache, admitted: dict[int, Request]) -> Chunks:
        """Chunks of at most `budget` tokens; at most `room` requests are admitted, as long as their blocks are free."""
        parts: list[tuple[Request, int]] = []
        tokens = pairs = seen = place = 0
        half_run = self.half_run
        while budget > 0:
            if self._ahead or place == len(half_run):
                if room > 0 and self._fits(budget, first=not parts) and self._admit(kv, admitted, place):
                    room -= 1
                elif place == len(half_run):
                    break
                else:
                    self._ahead = 0  # it finds no room now: the others need not wait for that
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
        # Floats: a forecast takes whole numbers for arrays, and is twice as slow at them.
        count = float(len(parts))
        return Chunks(parts, Load(float(tokens), count, float(pairs), float(seen), 0.0, 0.0, count))

    def _fits(self, budget: int, *, first: bool) -> bool:
        """Whether the first who waits may be in this iteration; alone, a prompt beyond the budget is cut after all."""
        return bool(self.waiting) and (first or not self._whole or self.waiting.head.target <= budget)

    def _admit(self, kv: KvCache, admitted: dict[int, Request], place: int) -> bool:
        request = self.waiting.head
        if self.refused(kv):
            return False
        if not kv.admit(request):
            self._refused = (request.index, kv.free, kv.version)
            return False
        self.waiting.pop()
        self._ahead = max(0, self._ahead - 1)
        self.half_run.insert(place, request)
        self.tokens -= request.computed
        self.changes += 1
        if request.cached < 0:
            request.cached = request.computed
        admitted[request.index] = request
        return True

    def stuck(self, kv: KvCache) -> bool:
        """Whether the first who waits would be refused blocks."""
        if self.refused(kv):
            return True
        if not self.waiting or kv.fits(self.waiting.head):
            return False
        self._refused = (self.waiting.head.index, kv.free, kv.version)
        return True

    def refused(self, kv: KvCache) -> bool:
        """Whether the first who waits has been refused blocks and nothing has changed for the better."""
        index, free, version = self._refused
        return bool(self.waiting) and index == self.waiting.head.index and kv.free <= free and kv.version == version

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
