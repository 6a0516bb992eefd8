# SPDX-License-Identifier: Apache-2.0
"""The forward pass: chunks of prompts, single tokens of running sequences, or both, over a paged cache.

A decode step is some three hundred launches, and the host has a few milliseconds for them: the loops below do nothing
that can be done before, and nothing here waits for the device but for the launch window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody gives it
from torch import Tensor

from pd_serving.batch import Batch
from pd_serving.cache import PagedCache
from pd_serving.ids import Ids, upload
from pd_serving.kernels import kernels_for
from pd_serving.options import BLOCK
from pd_serving.sampling import choose
from pd_serving.weights import Weights

Attention = Callable[[int, Tensor], Tensor]  # a layer and its queries (tokens, width); the result has the same shape


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
    """Weights and the operators that go over them. Not for use by two threads.

    run_ahead: layers of an iteration with prompts that are launched before the oldest has run; 0 for no bound.
    """

    def __init__(self, weights: Weights, device: torch.device, run_ahead: int = 0) -> None:
        self.weights = weights
        self.device = device
        self._window = LaunchWindow(device, run_ahead)
        self._kernels = kernels_for(device, weights.heads, BLOCK)

    @property
    def kernels(self) -> Any:
        return self._kernels

    @torch.inference_mode()
    def launch(self, batch: Batch, cache: PagedCache, before: Ids | None = None) -> Ids:
        """Computes the batch and does not wait for it: the ids that are wanted. before: of the step before this one,
        whose first ones are the batch's tokens."""
        self._window.clear()
        step, table = upload(batch.step, self.device), upload(batch.table.to(torch.int32), self.device)
        if before is not None:
            step[0].copy_(before.tokens[: step.shape[1]])
        attend = self._singles(batch, table, cache) if batch.one_each else self._chunks(batch, table, cache)
        last = None if batch.one_each else upload(torch.tensor(batch.last, dtype=torch.int64), self.device)
        return self.ids(choose(self.forward(step, cache, attend, last), batch.draws))

    def _singles(self, batch: Batch, table: Tensor, cache: PagedCache) -> Attention:
        kernels, lengths = self._kernels, batch.lengths
        return lambda layer, query: kernels.attend_paged(query, cache.layer(layer), table, lengths)

    def _chunks(self, batch: Batch, table: Tensor, cache: PagedCache) -> Attention:
        kernels, lengths = self._kernels, batch.lengths
        ends = torch.tensor(batch.new).cumsum(0).tolist()

        def attend(layer: int, query: Tensor) -> Tensor:
            out = kernels.attend_chunks(query, cache.layer(layer), table, ends, lengths)
            self._window.step()
            return out

        return attend

    def forward(self, step: Tensor, cache: PagedCache, attention: Attention, last: Tensor | None = None) -> Tensor:
        """step: (3, tokens) of id, position, row in the cache. Logits of the tokens in `last`, or of all, not waited
        for."""
        heads, kernels = self.weights.heads, self._kernels
        tokens = int(step.shape[1])
        cos, sin = self._angles(step[1])
        rows = step[2].view(tokens, 1)
        turned = heads.query + heads.kv
        query, both = heads.query_width, turned * heads.dim
        flat_keys, flat_values = cache.flat_keys, cache.flat_values

        def attend(layer: int, qkv: Tensor) -> Tensor:
            qk = kernels.rotary(qkv[:, :both].view(1, tokens, turned, heads.dim), cos, sin).view(tokens, both)
            kernels.write_rows(flat_keys[layer], rows, qk[:, query:])
            kernels.write_rows(flat_values[layer], rows, qkv[:, both:])
            return attention(layer, qk[:, :query])

        hidden = self._layers(step[0], attend)
        if last is not None:
            hidden = hidden.index_select(0, last)
        return torch.mm(hidden, self.weights.head)

    def ids(self, chosen: Tensor) -> Ids:
        return Ids(chosen, self.weights.vocabulary)

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        dim = self.weights.heads.dim
        both = self.weights.rope.index_select(0, positions).view(1, -1, 1, 2 * dim)
        return both[..., :dim], both[..., dim:]

    def _layers(self, ids: Tensor, attend: Attention) -> Tensor:
        """The decoder: everything but attention."""
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
        return hidden
