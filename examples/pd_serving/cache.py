# SPDX-License-Identifier: Apache-2.0
"""Keys and values of all sequences in blocks of BLOCK tokens, and who holds which block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pd_serving.options import BLOCK
from pd_serving.weights import Weights


class PagedCache:
    """store is (layers, 2, blocks, BLOCK, kv_width). Not for use by two threads."""

    def __init__(self, weights: Weights, blocks: int) -> None:
        width = weights.heads.kv_width
        like = weights.embedding
        self.blocks = blocks
        self.store = torch.empty((len(weights.layers), 2, blocks, BLOCK, width), dtype=like.dtype, device=like.device)
        self.keys = [layer[0] for layer in self.store]
        self.values = [layer[1] for layer in self.store]
        self.flat_keys = [each.view(-1, width) for each in self.keys]
        self.flat_values = [each.view(-1, width) for each in self.values]
        self._free = list(range(blocks))

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Its keys and values: (blocks, BLOCK, kv_width) each."""
        return self.keys[index], self.values[index]

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def usage(self) -> float:
        """The share of the blocks that is held."""
        return 1 - self.free / max(1, self.blocks)

    def take(self, tokens: int) -> list[int] | None:
        """Blocks for so many tokens, or None while there are not enough."""
        wanted = blocks_for(tokens)
        if wanted > len(self._free):
            return None
        taken, self._free = self._free[:wanted], self._free[wanted:]
        return taken

    def set_aside(self) -> int | None:
        """A block that is nobody's from now on, and counts no more; None where none is left."""
        taken = self.take(1)
        if taken is None:
            return None
        self.blocks -= 1
        return taken[0]

    def give_back(self, blocks: list[int]) -> None:
        """Empties the list: nothing reads or writes these blocks any more."""
        self._free.extend(blocks)
        blocks.clear()

    @torch.inference_mode()
    def read(self, blocks: Sequence[int], into: Tensor) -> None:
        """into: (layers, 2, len(blocks), BLOCK, width), anywhere."""
        index = torch.tensor(blocks).to(self.store.device)
        for mine, theirs in zip(self.store, into, strict=True):
            theirs.copy_(mine.index_select(1, index))

    @torch.inference_mode()
    def write(self, blocks: Sequence[int], layers: Iterable[Tensor]) -> None:
        """layers: each (2, len(blocks), BLOCK, width), anywhere; one at a time, so that little is held meanwhile."""
        index = torch.tensor(blocks).to(self.store.device)
        for mine, theirs in zip(self.store, layers, strict=True):
            mine.index_copy_(1, index, theirs.to(self.store.device))


def blocks_for(tokens: int) -> int:
    return -(-tokens // BLOCK)
