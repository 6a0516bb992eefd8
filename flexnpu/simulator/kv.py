# SPDX-License-Identifier: Apache-2.0
"""A device's paged KV cache: counts of private blocks, and prompt blocks that requests share by hash id.

Only counts are kept for private blocks, since which physical block a request has makes no difference to time. A shared
block is `per_hash` blocks large, is referenced by those who use it, and stays, least recently used first out, when
nobody does. As in vLLM: full blocks only, two requests that compute the same block at once both keep their own copy,
and a prompt that is cached to its end still computes its last block, because its logits are wanted.
"""

from __future__ import annotations

from collections import OrderedDict

from flexnpu.simulator.request import Request


class KvCache:
    """Blocks of one device. `free` counts blocks that nobody references, cached ones included."""

    __slots__ = (
        "_idle",
        "_references",
        "block_tokens",
        "caching",
        "capacity",
        "free",
        "hash_tokens",
        "per_hash",
        "version",
    )

    def __init__(self, capacity: int, block_tokens: int, hash_tokens: int, *, caching: bool) -> None:
        self.capacity = self.free = capacity
        self.block_tokens, self.hash_tokens = block_tokens, hash_tokens
        self.per_hash = hash_tokens // block_tokens
        self.caching = caching
        self._references: dict[int, int] = {}  # blocks in use
        self._idle: OrderedDict[int, None] = OrderedDict()  # cached blocks that nobody uses, oldest first
        self.version = 0  # rises with each block that enters the cache; a look-up need not be repeated before

    @property
    def used(self) -> int:
        """Blocks that requests hold."""
        return self.capacity - self.free

    def hits(self, request: Request) -> int:
        """Leading full blocks of the prompt that are cached, at least one token left to compute."""
        if not self.caching:
            return 0
        blocks, references, idle = request.blocks, self._references, self._idle
        most = min(len(blocks), (request.target - 1) // self.hash_tokens)
        count = 0
        while count < most and (blocks[count] in references or blocks[count] in idle):
            count += 1
        return count

    def fits(self, request: Request) -> bool:
        """Whether `admit` would take it."""
        total = -(-request.target // self.block_tokens)
        if total <= self.free:
            return True
        found = request.blocks[: self.hits(request)]
        idle = self._idle
        return total - sum(1 for block in found if block not in idle) * self.per_hash <= self.free

    def admit(self, request: Request) -> bool:
        """Take the blocks of all that the request is to compute; False, and nothing taken, when too few are free."""
        hits = self.hits(request)
        total = -(-request.target // self.block_tokens)
        references, idle = self._references, self._idle
        found = request.blocks[:hits]
        revived = sum(1 for block in found if block in idle) * self.per_hash  # these count as free, and will not be
        private = total - hits * self.per_hash
        if private + revived > self.free:
            return False
        for block in found:
            if block in references:
                references[block] += 1
            else:
                del idle[block]
                references[block] = 1
        self.free -= revived
        request.shared = list(found)
        request.registered = hits
        request.computed = hits * self.hash_tokens
        request.held = private
        self._take(private)
        return True

    def _take(self, blocks: int) -> None:
        self.free -= blocks
        # Blocks that are neither referenced nor cached go first; then cached ones, least recently used first.
        idle = self._idle
        while len(idle) * self.per_hash > self.free:
            idle.popitem(last=False)

    def grow(self, blocks: int) -> None:
        """Blocks for new tokens of running requests; the caller knows that they are free."""
        if blocks:
            self._take(blocks)

    def computed(self, request: Request) -> None:
        """Enter the full prompt blocks that are computed by now."""
        full = min(len(request.blocks), request.computed // self.hash_tokens)
        if not self.caching or full <= request.registered:
            return
        for place in range(request.registered, full):
            block = request.blocks[place]
            if block in self._references or block in self._idle:
                continue  # somebody was quicker: ours stays a private copy
            self._references[block] = 1
            request.shared.append(block)
            request.held -= self.per_hash
        request.registered = full
        self.version += 1

    def release(self, request: Request) -> None:
        """Give everything back. The prompt's tail becomes the oldest of what stays cached, as vLLM frees it."""
        self.free += request.held
        request.held = 0
        references, idle = self._references, self._idle
        for block in reversed(request.shared):
            left = references[block] - 1
            if left:
                references[block] = left
            else:
                del references[block]
                idle[block] = None
                self.free += self.per_hash
        request.shared = []
        request.registered = 0
