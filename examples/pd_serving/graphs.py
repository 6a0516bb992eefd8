# SPDX-License-Identifier: Apache-2.0
"""Decode steps as captured graphs, a set for each core count.

A captured graph keeps the block counts of its capture, whatever cores the device has later: with fewer it is held back,
with more it leaves them idle. So a step picks its graph by the cores that the device names now, and by the batch; a
pair that has no graph yet takes one eager step, and is captured behind it.

Attention's lengths are arguments on the host. Each layer's attention is a task group: a replay waits at it for an
event, until this step's lengths have been put in. They are put in at once, whatever of the graph still waits for its
turn, so that a step launched while another one runs has a graph of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pd_serving.batch import Batch
from pd_serving.cache import PagedCache
from pd_serving.errors import ConfigError
from pd_serving.ids import Ids, upload
from pd_serving.model import Model
from pd_serving.options import BLOCK
from pd_serving.sampling import choose

_BATCHES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
_MOST_GRAPHS = 48  # for each step ahead; the least recently used one goes first


@dataclass(slots=True)
class _Attention:
    """One layer's attention in a graph: where it reads and writes, and how its lengths are changed."""

    query: Tensor
    out: Tensor
    event: Any
    group: Any


@dataclass(slots=True)
class _Graph:
    graph: Any
    step: Tensor  # (3, batch)
    table: Tensor  # (batch, width)
    logits: Tensor  # (batch, vocabulary)
    best: Tensor  # (batch,)
    attention: list[_Attention] = field(default_factory=list)


class DecodeGraphs:
    """Model.launch for a cache whose sequences have at most `width` blocks each. Not for use by two threads.

    ahead: steps that are launched before the first of them has run.
    """

    def __init__(self, model: Model, cache: PagedCache, width: int, ahead: int = 1) -> None:
        self._model = model
        self._cache = cache
        self._width = width
        self._most = _MOST_GRAPHS * ahead
        self._updates = torch.npu.Stream()
        self._graphs: OrderedDict[tuple[int, int, int], _Graph] = OrderedDict()
        self._pool: Any = None
        spare = cache.set_aside()
        if spare is None:
            raise ConfigError("the cache has no block to spare for graphs; give it at least one block more")
        self._spare = spare  # what pads a batch writes here

    @property
    def captured(self) -> list[tuple[int, int, int]]:
        """Cores, batch and place among the steps ahead of each graph there is."""
        return list(self._graphs)

    @torch.inference_mode()
    def launch(self, batch: Batch, before: Ids | None = None, ahead: int = 0) -> Ids:
        """As Model.launch, for a batch with one token of each sequence. ahead: how many steps have been launched and
        not waited for."""
        count = len(batch.new)
        size = next((each for each in _BATCHES if each >= count), count)
        step, table, lengths = self._padded(batch, size - count)
        key = (self._cores(), size, ahead)
        graph = self._graphs.get(key)
        if graph is None:
            ids = self._model.launch(batch, self._cache, before)
            self._keep(key, self._capture(step, table.to(self._model.device), lengths))
            return ids
        self._graphs.move_to_end(key)
        self._put(graph, step, table)
        if before is not None:
            graph.step[0, :count].copy_(before.tokens[:count])
        self._replay(graph, lengths)
        drawn = any(batch.draws)
        return self._model.ids(choose(graph.logits[:count], batch.draws) if drawn else graph.best[:count])

    def _padded(self, batch: Batch, more: int) -> tuple[Tensor, Tensor, list[int]]:
        """Step, table and lengths with so many sequences more, each with an empty cache; the table at its width."""
        spare = self._spare * BLOCK
        rest = torch.tensor([[0, 0, spare + index % BLOCK] for index in range(more)], dtype=torch.int64).view(more, 3)
        table = torch.full((len(batch.new) + more, self._width), self._spare, dtype=torch.int32)
        table[: len(batch.new), : batch.table.shape[1]] = batch.table
        return torch.cat((batch.step, rest.T), 1), table, [*batch.lengths, *[1] * more]

    def _cores(self) -> int:
        return int(torch.npu.get_device_limit(self._model.device.index)["cube_core_num"])

    def _keep(self, key: tuple[int, int, int], graph: _Graph) -> None:
        self._graphs[key] = graph
        if len(self._graphs) > self._most:
            self._graphs.popitem(last=False)

    def _capture(self, step: Tensor, table: Tensor, lengths: list[int]) -> _Graph:
        device = self._model.device
        made = _Graph(torch.npu.NPUGraph(), step.to(device), table, torch.empty(0), torch.empty(0))
        kernels, cache = self._model.kernels, self._cache
        events = [_ready_event() for _ in cache.keys]
        torch.npu.synchronize()
        with torch.npu.graph(made.graph, pool=self._pool):
            stream = torch.npu.current_stream()

            def paged(layer: int, query: Tensor) -> Tensor:
                out = torch.empty((query.shape[0], 1, query.shape[1]), dtype=query.dtype, device=device)
                events[layer].wait(stream)
                events[layer].reset(stream)
                torch.npu.graph_task_group_begin(stream)
                kernels.attend_paged_into(out, query, cache.layer(layer), table, lengths)
                group = torch.npu.graph_task_group_end(stream)
                made.attention.append(_Attention(query, out, events[layer], group))
                return out.squeeze(1)

            made.logits = self._model.forward(made.step, cache, paged)
            made.best = made.logits.argmax(-1)
        self._pool = self._pool or made.graph.pool()
        return made

    def _put(self, graph: _Graph, step: Tensor, table: Tensor) -> None:
        graph.step.copy_(upload(step, self._model.device))
        graph.table.copy_(upload(table, self._model.device))

    def _replay(self, graph: _Graph, lengths: list[int]) -> None:
        graph.graph.replay()
        kernels, cache, updates = self._model.kernels, self._cache, self._updates
        with torch.npu.stream(updates):
            for layer, each in enumerate(graph.attention):
                torch.npu.graph_task_update_begin(updates, each.group)
                kv = cache.layer(layer)
                kernels.attend_paged_into(each.out, each.query, kv, graph.table, lengths)
                torch.npu.graph_task_update_end(updates)
                each.event.record(updates)


def _ready_event() -> Any:
    """torch_npu makes an external event when it is first recorded; until then a wait for it does nothing."""
    event = torch.npu.ExternalEvent()
    event.record()
    event.reset()
    return event
