# SPDX-License-Identifier: Apache-2.0
"""Whose prompt is run first: as many as can be on time, each by its deadline; who cannot be on time comes last.

One device runs prompts one after the other, each with a deadline and a length in seconds; the fewest are late when they
go by deadline and, whenever one would be late, the longest of those before it is put off (Moore and Hodgson, 1968).
"""

from __future__ import annotations

from heapq import heapify, heappush, heappushpop
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexnpu.forecast.batch import Floats


class Queue(NamedTuple):
    """Prompts as columns, in the snapshot's order: seconds of work, and seconds left until the deadline."""

    work: Floats
    slack: Floats


class Order(NamedTuple):
    """kept: who is on time, by deadline. late: who is put off or lost, by deadline too."""

    kept: list[int]
    late: list[int]
    lost: int  # of the late: who would be late even if it were the only one


def on_time(queue: Queue, pace: float) -> bool:
    """Whether everybody is, in the order of the queue; work takes 1 / pace as long as on the device alone."""
    over = queue.work.cumsum() > pace * queue.slack
    return not over.size or not over[over.argmax()]


def order(queue: Queue, pace: float, look: int) -> Order:
    """Moore and Hodgson over the first `look` of those who can be on time at all; the others follow."""
    by_deadline = queue.slack.argsort(kind="stable")
    work, allowed = queue.work[by_deadline], pace * queue.slack[by_deadline]
    possible = work <= allowed
    chances = possible.nonzero()[0]
    seen = chances[:look]
    kept = fewest_late(work[seen], allowed[seen])
    lost = len(work) - len(chances)
    places = by_deadline[chances].tolist()
    late = by_deadline[~possible].tolist() if lost else []
    if kept is None:
        return Order(places, late, lost)
    first = by_deadline[seen]
    return Order(first[kept].tolist() + places[look:], first[~kept].tolist() + late, lost)


def fewest_late(work: Floats, allowed: Floats) -> npt.NDArray[np.bool_] | None:
    """Who is on time, by deadline; None: everybody."""
    totals = work.cumsum()
    over = totals > allowed
    first = int(over.argmax()) if over.size else 0  # who would be late first
    if not over.size or not over[first]:
        return None
    by_length = work.argsort(kind="stable")
    # Minus the place by length: a heap of whole numbers with the longest first, the later of two that are alike.
    length = np.empty(len(work), dtype=np.int64)
    length[by_length] = np.arange(0, -len(work), -1)
    places: list[int] = by_length.tolist()
    seconds: list[float] = work.tolist()
    longest: list[int] = length[:first].tolist()
    heapify(longest)
    total = totals.item(first - 1) if first else 0.0
    kept = np.ones(len(work), dtype=np.bool_)
    for each, limit, rank in zip(seconds[first:], allowed[first:].tolist(), length[first:].tolist(), strict=True):
        total += each
        if total > limit:
            out = places[-heappushpop(longest, rank)]
            total -= seconds[out]
            kept[out] = False
        else:
            heappush(longest, rank)
    return kept
