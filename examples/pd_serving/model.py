# SPDX-License-Identifier: Apache-2.0
"""Two forward passes over the same weights: whole prompts, and one token for each of many sequences.

A decode step is some three hundred launches, and the host has a few milliseconds for them: the loops below do nothing
that can be done before, and nothing here waits for the device but for the launch window and the ids at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody gives it
from torch import Tensor

from pd_serving.kernels import kernels_for
from pd_serving.options import BLOCK
from pd_serving.weights import Weights


class LaunchWindow:
    """Keeps the host at most so many layers ahead of the device.

    A long prompt's layers are launched within milliseconds and run for half a second. Whatever is launched runs as it
    was tiled then, so that a changed core limit would take hold only after the queue; this keeps the queue short.
    """

    def __init__(self, device: torch.device, layers: int) -> None:
        self._layers = layers if device.type == "npu" else 0
        self._behind: deque[Any] = deque()

    def step(self) -> None:
        if not self._layers:
            return
        event = torch.npu.Event()
        event.record()
        self._behind.append(event)
        if len(self._behind) > self._layers:
            self._behind.popleft().synchronize()

    def clear(self) -> None:
        self._behind.clear()


class Model:
    """Weights and the operators that go over them. Not for use by two threads."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.weights = weights
        self.device = device
        self._kernels = kernels_for(device, weights.heads, BLOCK)

    @property
    def kernels(self) -> Any:
        return self._kernels

    @torch.inference_mode()
    def prefill(self, ids: Tensor, lengths: Sequence[int], kv: Tensor, window: LaunchWindow) -> list[int]:
        """First tokens of prompts laid end to end in `ids`; their keys and values go to kv[layer, 0 or 1, token]."""
        weights, kernels = self.weights, self._kernels
        heads = weights.heads
        tokens = int(ids.shape[0])
        ends = torch.tensor(lengths).cumsum(0)
        positions = torch.cat([torch.arange(length) for length in lengths])
        cos, sin = self._angles(positions.to(self.device))
        turned = heads.query + heads.kv
        sums = ends.tolist()

        def attend(index: int, qkv: Tensor) -> Tensor:
            qk = kernels.rotary(qkv[:, : turned * heads.dim].view(1, tokens, turned, heads.dim), cos, sin)[0]
            k, v = qk[:, heads.query :], qkv[:, turned * heads.dim :].view(tokens, heads.kv, heads.dim)
            kv[index, 0, :tokens].view(tokens, heads.kv, heads.dim).copy_(k)
            kv[index, 1, :tokens].view(tokens, heads.kv, heads.dim).copy_(v)
            out = kernels.attend_packed(qk[:, : heads.query], k, v, sums)
            window.step()
            return out.reshape(tokens, heads.query_width)

        last = (ends - 1).to(self.device)
        result = self.ids(self._layers(ids.to(self.device), attend, last))
        window.clear()
        return result

    @torch.inference_mode()
    def decode(self, step: Tensor, table: Tensor, lengths: Sequence[int], cache: PagedCache) -> list[int]:
        """One token more for each sequence. step: (3, batch) of last id, its position, its row in the cache."""
        kernels, keys, values = self._kernels, cache.keys, cache.values

        def paged(index: int, query: Tensor) -> Tensor:
            return kernels.attend_paged(query, keys[index], values[index], table, lengths)

        return self.ids(self.decode_step(step.to(self.device), cache, paged))

    def decode_step(self, step: Tensor, cache: PagedCache, paged: Any) -> Tensor:
        """The same on the device: best ids, not yet waited for. paged(layer, query): attention over the cache."""
        weights, kernels = self.weights, self._kernels
        heads = weights.heads
        batch = int(step.shape[1])
        cos, sin = self._angles(step[1])
        rows = step[2].view(batch, 1)
        turned = heads.query + heads.kv
        query, both = heads.query_width, turned * heads.dim
        flat_keys, flat_values = cache.flat_keys, cache.flat_values

        def attend(index: int, qkv: Tensor) -> Tensor:
            qk = kernels.rotary(qkv[:, :both].view(1, batch, turned, heads.dim), cos, sin).view(batch, both)
            kernels.write_rows(flat_keys[index], rows, qk[:, query:])
            kernels.write_rows(flat_values[index], rows, qkv[:, both:])
            return paged(index, qk[:, :query])

        return self._layers(step[0], attend, None)

    def ids(self, best: Tensor) -> list[int]:
        """Waits for them. An argmax over undefined values need not be an id."""
        limit = self.weights.vocabulary - 1
        return [min(max(token, 0), limit) for token in best.cpu().tolist()]

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        dim = self.weights.heads.dim
        both = self.weights.rope.index_select(0, positions).view(1, -1, 1, 2 * dim)
        return both[..., :dim], both[..., dim:]

    def _layers(self, ids: Tensor, attend: Any, rows: Tensor | None) -> Tensor:
        """The decoder: everything but attention is the same for both passes. Answers the best id of each of `rows`."""
        weights, kernels = self.weights, self._kernels
        eps, add_norm, swiglu, mm, addmm = weights.eps, kernels.add_rms_norm, kernels.swiglu, torch.mm, torch.addmm
        residual = F.embedding(ids, weights.embedding)
        hidden = kernels.rms_norm(residual, weights.layers[0].input_norm, eps)
        following = [layer.input_norm for layer in weights.layers[1:]] + [weights.norm]
        for index, layer in enumerate(weights.layers):
            mixed = mm(attend(index, addmm(layer.qkv_bias, hidden, layer.qkv)), layer.out)
            hidden, residual = add_norm(mixed, residual, layer.post_norm, eps)
            mixed = mm(swiglu(mm(hidden, layer.gate_up)), layer.down)
            hidden, residual = add_norm(mixed, residual, following[index], eps)
        if rows is not None:
            hidden = hidden.index_select(0, rows)
        return mm(hidden, weights.head).argmax(-1)


class PagedCache:
    """Keys and values of running sequences in blocks of BLOCK tokens, and who holds which block."""

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

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self, tokens: int) -> list[int] | None:
        """Blocks for so many tokens, or None while there are not enough."""
        wanted = blocks_for(tokens)
        if wanted > len(self._free):
            return None
        taken, self._free = self._free[:wanted], self._free[wanted:]
        return taken

    def give_back(self, blocks: Sequence[int]) -> None:
        self._free.extend(blocks)

    @torch.inference_mode()
    def fill(self, blocks: Sequence[int], kv: Tensor) -> None:
        """kv: (layers, 2, blocks, BLOCK, width), the beginning of a sequence."""
        index = torch.tensor(blocks[: kv.shape[2]]).to(self.store.device)
        self.store.index_copy_(2, index, kv)


def blocks_for(tokens: int) -> int:
    return -(-tokens // BLOCK)
