# SPDX-License-Identifier: Apache-2.0
"""Whose prompt is run first: as many as can be on time, each by its deadline; who cannot be on time comes last.

One device runs prompts one after the other, each with a deadline and a length in seconds; the fewest are late when they
go by deadline and, whenever one would be late, the longest of those before it is put off (Moore and Hodgson, 1968).
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

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
    return bool((np.cumsum(queue.work) <= pace * queue.slack).all())


def order(queue: Queue, pace: float, look: int) -> Order:
    """Moore and Hodgson over the first `look` of those who can be on time at all; the others follow."""
    by_deadline = np.argsort(queue.slack, kind="stable")
    allowed = pace * queue.slack[by_deadline]
    work = queue.work[by_deadline]
    possible = work <= allowed
    chances, lost = by_deadline[possible], by_deadline[~possible]
    kept, put_off = _fewest_late(work[possible][:look].tolist(), allowed[possible][:look].tolist())
    places = chances.tolist()
    first = [places[index] for index in kept] + places[look:]
    return Order(first, [places[index] for index in put_off] + lost.tolist(), len(lost))


def _fewest_late(work: list[float], allowed: list[float]) -> tuple[list[int], list[int]]:
    """Who is on time and who is put off, as places in the two lists, which go by deadline."""
    total = 0.0
    longest: list[tuple[float, int]] = []  # a heap, the longest first
    put_off = set()
    for place, seconds in enumerate(work):
        heapq.heappush(longest, (-seconds, -place))
        total += seconds
        if total > allowed[place]:
            least, out = heapq.heappop(longest)
            total += least
            put_off.add(-out)
    return [place for place in range(len(work)) if place not in put_off], sorted(put_off)
