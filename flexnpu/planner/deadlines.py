# SPDX-License-Identifier: Apache-2.0
"""Whose prompt is run first: as many as can be on time, each by its deadline; who cannot be on time comes last.

One device runs prompts one after the other, each with a deadline and a length in seconds; the fewest are late when they
go by deadline and, whenever one would be late, the longest of those before it is put off (Moore and Hodgson, 1968).
"""

from __future__ import annotations

from heapq import heappush, heappushpop
from itertools import compress
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
    work, slack = queue
    if not len(work):
        return True
    # Whoever comes last waits for all: where it is late there is no need to look at the others.
    if np.add.reduce(work) > pace * slack[-1]:
        return False
    return not (work.cumsum() > pace * slack).any()


def order(queue: Queue, pace: float, look: int) -> Order:
    """Moore and Hodgson over the first `look` of those who can be on time at all; the others follow."""
    allowed = pace * queue.slack
    by_deadline = queue.slack.argsort(kind="stable")
    over = (queue.work > allowed)[by_deadline]
    lost: list[int] = by_deadline[over].tolist()
    chances = by_deadline[~over]
    seen = chances[:look]
    kept, late = fewest_late(seen.tolist(), queue.work[seen], allowed[seen])
    return Order(kept + chances[look:].tolist(), late + lost, len(lost))


def fewest_late(names: list[int], work: Floats, allowed: Floats) -> tuple[list[int], list[int]]:
    """Who is on time and who is not, both by deadline, as the arguments are."""
    if not names:
        return [], []
    # The longest first, and of two that are alike the later one: ranks make a heap of whole numbers.
    by_length = work.argsort(kind="stable")[::-1]
    places, ranks, seconds = by_length.tolist(), by_length.argsort().tolist(), work.tolist()
    on: list[int] = []  # ranks
    off: list[int] = []  # places
    total = 0.0
    for each, limit, rank in zip(seconds, allowed.tolist(), ranks, strict=True):
        total += each
        if total <= limit:
            heappush(on, rank)
        else:
            longest = places[heappushpop(on, rank)]
            total -= seconds[longest]
            off.append(longest)
    off.sort()
    kept = [True] * len(names)
    for place in off:
        kept[place] = False
    return list(compress(names, kept)), [names[place] for place in off]
