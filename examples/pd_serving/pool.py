# SPDX-License-Identifier: Apache-2.0
"""Host memory that both instances map: slots in which a prompt's keys and values go from prefill to decode.

It is an anonymous file, handed over by its descriptor, so that nothing is left behind whichever process dies how.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from pd_serving.cache import blocks_for
from pd_serving.options import BLOCK
from pd_serving.weights import Weights


@dataclass(frozen=True, slots=True)
class Layout:
    """What both instances must agree on before they share memory."""

    layers: int
    width: int
    dtype: str
    slots: int
    slot_tokens: int

    @classmethod
    def of(cls, weights: Weights, slots: int, slot_tokens: int) -> Layout:
        dtype = str(weights.embedding.dtype).removeprefix("torch.")
        return cls(len(weights.layers), weights.heads.kv_width, dtype, slots, blocks_for(slot_tokens) * BLOCK)

    @property
    def torch_dtype(self) -> torch.dtype:
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    @property
    def slot_elements(self) -> int:
        return self.layers * 2 * self.slot_tokens * self.width

    @property
    def slot_bytes(self) -> int:
        return self.slot_elements * self.torch_dtype.itemsize


@contextmanager
def memory(layout: Layout) -> Iterator[int]:
    """The descriptor of a new file for the slots."""
    descriptor = os.memfd_create("pd-serving-kv", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, layout.slots * layout.slot_bytes)
        yield descriptor
    finally:
        os.close(descriptor)


class Pool:
    """The slots, mapped; the descriptor is the caller's to close. Pages that nobody writes to take no memory."""

    def __init__(self, descriptor: int, layout: Layout) -> None:
        self.layout = layout
        self._map = mmap.mmap(descriptor, layout.slots * layout.slot_bytes)
        self._slots = torch.frombuffer(self._map, dtype=layout.torch_dtype).view(layout.slots, -1)

    def slot(self, index: int, tokens: int) -> Tensor:
        """The part of a slot that so many tokens fill: (layers, 2, blocks, BLOCK, width), contiguous."""
        layout, blocks = self.layout, blocks_for(tokens)
        shape = (layout.layers, 2, blocks, BLOCK, layout.width)
        return self._slots[index, : layout.layers * 2 * blocks * BLOCK * layout.width].view(shape)
