# SPDX-License-Identifier: Apache-2.0
"""The decode batch of one lane, kept so that many steps can be taken at once.

Every request of the batch gets one token per step. So the step a request ends at is known when it joins, and so is, by
the remainder of its length, each step at which it opens a new KV block. Steps are numbered; their ends are kept for as
long as a request that was there still runs, which gives each request its gaps exactly.
"""

from __future__ import annotations

import heapq

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load
from flexnpu.planner import Targets
from flexnpu.simulator.request import Request


class Decoding:
    """`sequences` requests, whose next step reads `seen` keys (the new token's included)."""

    __slots__ = (
        "_base",
        "_behind",
        "_block",
        "_due",
        "_ends",
        "_opens",
        "_slots",
        "_targets",
        "changes",
        "members",
        "seen",
        "sequences",
        "step",
    )

    def __init__(self, block_tokens: int, targets: Targets) -> None:
        self.sequences = 0
        self.seen = 0
        self.step = 0
        self.changes = 0  # how often a request came or left
        self.members: dict[int, Request] = {}  # by index
        self._block = block_tokens
        self._opens = [0] * block_tokens  # requests by the remainder of the steps at which they open a block
        self._due: list[tuple[int, int, Request]] = []  # a heap; who was preempted is still in it
        self._ends: Floats = np.empty(1024)  # of steps _base, _base + 1, ...
        self._base = 0
        self._slots: list[Request] = []  # in no order; a request knows its place
        # What a request is behind at step 0: credit = _behind + step x target - now.
        self._behind: Floats = np.empty(64)
        self._targets = targets

    @property
    def load(self) -> Load:
        """The next step. In floats: a forecast takes whole numbers for arrays, and is twice as slow at them."""
        sequences = float(self.sequences)
        return Load(0.0, 0.0, 0.0, 0.0, sequences, float(self.seen), sequences)

    def join(self, request: Request) -> None:
        """A request with `computed` tokens in the cache and its latest token not yet in it."""
        request.length = request.computed
        request.join_step = self.step
        request.finish_step = self.step + request.output - request.generated
        request.residue = (self.step - request.length) % self._block
        self._opens[request.residue] += 1
        self.sequences += 1
        self.changes += 1
        self.seen += request.length + 1
        self.members[request.index] = request
        self._seat(request)
        heapq.heappush(self._due, (request.finish_step, request.index, request))

    def leave(self, request: Request) -> None:
        """Out of the batch; its length, blocks, tokens and gaps are up to date afterwards."""
        steps = self.step - request.join_step
        taken = min(steps, request.finish_step - request.join_step)  # later steps ran for nothing
        if taken > 0:
            first = request.join_step - self._base
            ends = self._ends[first : first + taken]
            gaps = np.empty(taken)
            gaps[0] = ends[0] - request.last_token
            np.subtract(ends[1:], ends[:-1], out=gaps[1:])
            request.gaps.append(gaps)
            request.last_token = float(ends[-1])
            request.generated += taken
        length = request.length + steps
        request.held += -(-length // self._block) - -(-request.length // self._block)
        request.length = request.computed = length
        self._opens[request.residue] -= 1
        self.sequences -= 1
        self.changes += 1
        self.seen -= length + 1
        del self.members[request.index]
        last = self._slots.pop()
        if last is not request:
            self._slots[request.slot] = last
            last.slot = request.slot
            self._behind[last.slot] = self._behind[len(self._slots)]

    def credits(self, now: float) -> Floats:
        """Seconds by which each request is ahead of its mean ITL target; infinite where the TTFT target is missed."""
        return self._behind[: len(self._slots)] + (self.step * self._targets.itl - now)

    def _seat(self, request: Request) -> None:
        targets, slot = self._targets, len(self._slots)
        request.slot = slot
        self._slots.append(request)
        if slot == len(self._behind):
            self._behind = np.resize(self._behind, 2 * slot)
        late = request.first_token - request.arrival > targets.ttft
        tokens = request.generated - 1 - self.step
        self._behind[slot] = np.inf if late else request.first_token + tokens * targets.itl

    def until_finish(self) -> int:
        """Steps until the next request has its last token; the batch is not empty."""
        due = self._due
        while True:
            finish_step, index, request = due[0]
            if self.members.get(index) is request and request.finish_step == finish_step:
                return finish_step - self.step
            heapq.heappop(due)

    def finish(self) -> list[Request]:
        """Take out all who have their last token."""
        done = []
        due = self._due
        while due and due[0][0] <= self.step:
            finish_step, index, request = heapq.heappop(due)
            if self.members.get(index) is request and request.finish_step == finish_step:
                self.leave(request)
                done.append(request)
        return done

    def blocks(self, steps: int) -> int:
        """New KV blocks that the next steps open."""
        opens, block = self._opens, self._block
        if steps == 1:
            return opens[self.step % block]
        rounds, rest = divmod(steps, block)
        first = self.step % block
        beyond = first + rest - block  # what the last round has of the block's start
        more = sum(opens[first : first + rest]) + (sum(opens[:beyond]) if beyond > 0 else 0)
        return rounds * self.sequences + more

    def affordable(self, free: int, most: int) -> int:
        """How many of the next `most` steps `free` blocks suffice for."""
        if self.blocks(most) <= free:
            return most
        rounds = free // self.sequences
        steps, left = rounds * self._block, free - rounds * self.sequences
        while True:
            left -= self._opens[(self.step + steps) % self._block]
            if left < 0:
                return min(steps, most)
            steps += 1

    def advance(self, ends: Floats) -> None:
        """Steps that were taken, by their ends."""
        place, count = self.step - self._base, len(ends)
        if place + count > len(self._ends):
            place = self._make_room(count)
        self._ends[place : place + count] = ends
        self.step += count
        self.seen += count * self.sequences

    def _make_room(self, count: int) -> int:
        """Drop the ends that nobody needs any more; grow only when that frees less than half."""
        oldest = min((request.join_step for request in self.members.values()), default=self.step)
        kept = self._ends[oldest - self._base : self.step - self._base]
        size = len(self._ends)
        while len(kept) + count > size // 2:
            size *= 2
        ends = np.empty(size)
        ends[: len(kept)] = kept
        self._ends, self._base = ends, oldest
        return self.step - oldest
