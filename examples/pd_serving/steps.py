# SPDX-License-Identifier: Apache-2.0
"""Steps that run ahead of the host: each is launched before the tokens of the one before it are known here.

A step's tokens stay on the device, where the next one reads them, and come to the host as they are made. What else a
step needs is known beforehand: positions, cache blocks, and how many steps a sequence may still take. That it came to
the end of its text is noticed late: what it got beyond is for whoever delivers to leave out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from pd_serving.batch import Batch
from pd_serving.cache import PagedCache
from pd_serving.graphs import DecodeGraphs
from pd_serving.ids import Ids
from pd_serving.model import Model
from pd_serving.schedule import Work


class Steps:
    """graphs: captured decode steps, or None."""

    def __init__(self, model: Model, cache: PagedCache, graphs: DecodeGraphs | None) -> None:
        self._model = model
        self._cache = cache
        self._graphs = graphs

    def run(self, work: Work, count: int) -> Iterator[tuple[Work, list[int]]]:
        """So many steps of the work, the first of it and then a token of each sequence; each with its tokens, as soon
        as they are there. Those with the most tokens left come first, since a step has no more than those that have
        one left. count above 1 is for work whose sequences all get a token."""
        work = sorted(work, key=lambda each: -min(each[0].left, count))
        flying: deque[tuple[Work, Ids]] = deque()
        first, ids = Batch.of(work), None
        for step in range(count):
            going = sum(sequence.left > step for sequence, _ in work)
            if going == 0:
                break
            ids = self._launch(first if step == 0 else first.later(step, going), ids, step)
            flying.append((work[:going], ids))
            while len(flying) > 1 and flying[0][1].there:
                yield _landed(flying)
        while flying:
            yield _landed(flying)

    def _launch(self, batch: Batch, before: Ids | None, step: int) -> Ids:
        if self._graphs is not None and batch.one_each:
            return self._graphs.launch(batch, before, step)
        return self._model.launch(batch, self._cache, before)


def _landed(flying: deque[tuple[Work, Ids]]) -> tuple[Work, list[int]]:
    work, ids = flying.popleft()
    return work, ids.wait()
