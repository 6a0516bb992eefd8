# SPDX-License-Identifier: Apache-2.0
"""How a prompt's keys and values go from prefill's cache into decode's.

On one device decode reads prefill's blocks: NPU memory that one process shares with another by a key (IPC). Between two
devices, or where that cannot be had, they go through a slot of host memory that both map.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import torch
from torch import Tensor

from pd_serving.cache import PagedCache
from pd_serving.pool import Pool
from pd_serving.sampling import Sampling
from pd_serving.schedule import Sequence

Place = dict[str, Any]  # the part of a hand-over's message that says where keys and values are


class Giver(Protocol):
    """Prefill's side."""

    @property
    def has_room(self) -> bool: ...

    def give(self, sequence: Sequence) -> Place:
        """Where decode finds them. The sequence's blocks may be gone afterwards."""

    def freed(self, number: int) -> None:
        """Decode has read those of the request with that number, or will not."""

    def let_go(self) -> None:
        """Decode reads nothing any more."""


class Taker(Protocol):
    """Decode's side."""

    def take(self, place: Place, length: int, blocks: list[int]) -> None:
        """Copies so many tokens into these blocks; waits until it is done."""


class HostGiver:
    """Through a slot of host memory; the blocks are free at once."""

    def __init__(self, pool: Pool, cache: PagedCache) -> None:
        self._pool = pool
        self._cache = cache
        self._free = deque(range(pool.layout.slots))
        self._slots: dict[int, int] = {}

    @property
    def has_room(self) -> bool:
        return bool(self._free)

    def give(self, sequence: Sequence) -> Place:
        slot = self._free.popleft()
        self._cache.read(sequence.blocks, self._pool.slot(slot, sequence.length))
        self._cache.give_back(sequence.blocks)
        self._slots[sequence.number] = slot
        return {"slot": slot}

    def freed(self, number: int) -> None:
        if (slot := self._slots.pop(number, None)) is not None:
            self._free.append(slot)

    def let_go(self) -> None:
        """The slots are those of one connection."""


class HostTaker:
    """Out of the slot."""

    def __init__(self, pool: Pool, cache: PagedCache) -> None:
        self._pool = pool
        self._cache = cache

    def take(self, place: Place, length: int, blocks: list[int]) -> None:
        slot = self._pool.slot(place["slot"], length)
        self._cache.write(blocks[: slot.shape[2]], slot)
        _wait(self._cache)


class IpcGiver:
    """Decode reads the blocks where they are; they are free when it has. most: those that it has yet to read."""

    def __init__(self, cache: PagedCache, most: int) -> None:
        self._cache = cache
        self._most = most
        self._blocks: dict[int, list[int]] = {}

    @property
    def has_room(self) -> bool:
        return len(self._blocks) < self._most

    def give(self, sequence: Sequence) -> Place:
        self._blocks[sequence.number] = sequence.blocks
        return {"blocks": sequence.blocks}

    def freed(self, number: int) -> None:
        self._cache.give_back(self._blocks.pop(number, []))

    def let_go(self) -> None:
        for number in list(self._blocks):
            self.freed(number)


class IpcTaker:
    """store: prefill's cache, as this process sees it."""

    def __init__(self, store: Tensor, cache: PagedCache) -> None:
        self._store = store
        self._cache = cache

    @torch.inference_mode()
    def take(self, place: Place, length: int, blocks: list[int]) -> None:
        index = torch.tensor(place["blocks"]).to(self._store.device)
        self._cache.write(blocks[: len(index)], (layer.index_select(1, index) for layer in self._store))
        _wait(self._cache)


def message_of(sequence: Sequence, place: Place) -> dict[str, Any]:
    """The hand-over of a sequence whose keys and values are there."""
    sampling = sequence.sampling
    return {
        "hand_over": sequence.number,
        "length": sequence.length,
        "token": sequence.pending[0],
        "time": sequence.at,
        "made": sequence.made,
        "left": sequence.left,
        "ignore_eos": sequence.ignore_eos,
        "sampling": None if sampling is None else [sampling.temperature, sampling.top_p, sampling.seed],
        **place,
    }


def sequence_of(message: dict[str, Any]) -> Sequence:
    """As decode goes on with it; it has no blocks yet."""
    sampling = message["sampling"]
    return Sequence(
        number=message["hand_over"],
        pending=[message["token"]],
        reserve=message["length"] + message["left"],
        left=message["left"],
        ignore_eos=message["ignore_eos"],
        sampling=None if sampling is None else Sampling(*sampling),
        length=message["length"],
        made=message["made"],
        at=message["time"],
    )


def share(store: Tensor) -> Place:
    """What another process on the same device needs to open this tensor. RuntimeError, or AttributeError of a torch_npu
    that is too old, where that is not to be had."""
    device, key, size, offset, counter, counter_offset, event, waits = store.untyped_storage()._share_npu_()  # type: ignore[attr-defined]
    return {
        "shape": list(store.shape),
        "storage": [device, key.hex(), size, offset, counter.hex(), counter_offset, event.hex(), waits],
    }


def open_shared(told: dict[str, Any], cache: PagedCache) -> Tensor:
    """The tensor that another process shared; RuntimeError where it is of another device."""
    device, key, size, offset, counter, counter_offset, event, waits = told["storage"]
    if device != cache.store.device.index:
        raise RuntimeError(f"prefill is on npu:{device}, decode on {cache.store.device}")
    key, counter, event = map(bytes.fromhex, (key, counter, event))
    storage = torch.UntypedStorage._new_shared_npu(  # type: ignore[attr-defined]
        device, key, size, offset, counter, counter_offset, event, waits
    )
    empty = torch.empty(0, dtype=cache.store.dtype, device=cache.store.device)
    return empty.set_(storage, 0, told["shape"])  # type: ignore[call-overload, no-any-return]


def _wait(cache: PagedCache) -> None:
    if cache.store.device.type == "npu":
        torch.npu.current_stream().synchronize()
