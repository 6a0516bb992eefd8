# SPDX-License-Identifier: Apache-2.0
"""Which tokens the next iteration computes: first in, first out, and whoever has begun goes on.

A sequence gets cache blocks for all it may grow to when it begins, so that none is ever put back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pd_serving.cache import PagedCache
from pd_serving.sampling import Sampling


@dataclass(slots=True, eq=False)
class Sequence:
    """A request as the device sees it. Its cache holds `length` tokens; `pending` ones are to be computed next."""

    number: int
    pending: list[int]
    reserve: int  # tokens that its blocks have to hold
    left: int  # tokens that it may still get
    ignore_eos: bool = False
    sampling: Sampling | None = None  # None: always the likeliest token
    length: int = 0
    made: int = 0  # tokens that it has got
    at: float = 0.0  # when the last of them came
    over: bool = False  # it gets no more
    blocks: list[int] = field(default_factory=list)

    @property
    def decodes(self) -> bool:
        return self.made > 0

    def computed(self, count: int) -> bool:
        """So many of its pending tokens are in the cache now; whether that gives it a token."""
        self.length += count
        self.pending = self.pending[count:]
        return not self.pending

    def got(self, token: int, at: float, eos: frozenset[int]) -> str | None:
        """The next token; why it is the last one, or None."""
        self.pending = [token]
        self.at = at
        self.made += 1
        self.left -= 1
        if not self.ignore_eos and token in eos:
            return "stop"
        return "length" if self.left == 0 else None


@dataclass(frozen=True, slots=True)
class Budget:
    """What fits in an iteration. cut: a prompt that does not fit is computed in several iterations; without, only one
    that fits in none."""

    tokens: int
    sequences: int
    cut: bool


Work = list[tuple[Sequence, int]]


class Scheduler:
    """Every running sequence gets a token in each iteration; what is left of the budget goes to prompts in order."""

    def __init__(self, cache: PagedCache, budget: Budget) -> None:
        self._cache = cache
        self._budget = budget
        self.waiting: deque[Sequence] = deque()
        self.prompts: list[Sequence] = []  # they have blocks, and no token yet
        self.running: list[Sequence] = []

    @property
    def active(self) -> int:
        return len(self.prompts) + len(self.running)

    @property
    def has_room(self) -> bool:
        return self.active < self._budget.sequences

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def put_first(self, sequence: Sequence) -> None:
        """It has been here before."""
        self.waiting.appendleft(sequence)

    def join(self, sequence: Sequence) -> None:
        """One whose keys and values are in its blocks already."""
        self.running.append(sequence)

    def drop(self, sequence: Sequence) -> None:
        """It is over, wherever it is; its blocks are free."""
        self.leave(sequence)
        sequence.over = True
        self._cache.give_back(sequence.blocks)

    def leave(self, sequence: Sequence) -> None:
        """It is no more computed here, and keeps its blocks."""
        for each in (self.waiting, self.prompts, self.running):
            if sequence in each:
                each.remove(sequence)

    def next(self) -> Work:
        work = [(each, 1) for each in self.running]
        room = self._budget.tokens - len(work)
        for sequence in self.prompts:
            room -= self._put(work, sequence, room)
        while self.waiting and self._admits(self.waiting[0], room):
            self.prompts.append(self.waiting.popleft())
            room -= self._put(work, self.prompts[-1], room)
        return work

    def done(self, work: Work) -> list[Sequence]:
        """Those that the computed work gives a token, in its order."""
        ready = [sequence for sequence, count in work if sequence.computed(count)]
        first = [each for each in ready if each in self.prompts]
        self.prompts = [each for each in self.prompts if each not in first]
        self.running += first
        return ready

    def _put(self, work: Work, sequence: Sequence, room: int) -> int:
        count = min(len(sequence.pending), room)
        if count > 0:
            work.append((sequence, count))
        return max(0, count)

    def _admits(self, sequence: Sequence, room: int) -> bool:
        """Whether it begins now; then it has its blocks."""
        wanted = 1 if self._budget.cut else min(len(sequence.pending), self._budget.tokens)
        if room < wanted or not self.has_room:
            return False
        blocks = self._cache.take(sequence.reserve)
        sequence.blocks = blocks or []
        return blocks is not None
