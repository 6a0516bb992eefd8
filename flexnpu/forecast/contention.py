# SPDX-License-Identifier: Apache-2.0
"""What two phases that run side by side make of what they share: memory's bandwidth, and links to other devices.

A neighbour takes half of the bandwidth in the part f = min(1, 2 D) of the time, D being the mean part that it draws
when alone: seconds A alone and H with half of the bandwidth become 1 / ((1 - f) / A + f / H). While both send to other
devices, each has half of the links.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.rows import Row, Single

Seconds = TypeVar("Seconds", float, Floats)
HALF = 0.5  # of the device's bandwidth: the least that a neighbour leaves


def busy(alone: Seconds, held: Seconds, met: Seconds) -> Seconds:
    """Seconds of an iteration whose neighbour takes half of the bandwidth in the part `met` of the time."""
    return alone * (held / (held - met * (held - alone)))


def part_met(demand: float) -> float:
    """That part, by the mean part of the bandwidth that the neighbour draws."""
    return min(1.0, demand / HALF)


def contended(mine: Row, other: Row) -> Floats:
    """Seconds by split of a phase beside another. Row i of both is the same split; at the first and the last one of
    them has no cores, and so no effect on the other."""
    seconds = mine.alone.copy()
    if mine.traffic and other.traffic:
        met = np.minimum(1.0, (other.traffic / HALF) / other.alone[1:-1])
        seconds[1:-1] = busy(mine.alone[1:-1], mine.held[1:-1], met)
    if mine.links and other.links:
        seconds += mine.links * np.minimum(1.0, other.links / other.alone)
    return seconds


def slowed(mine: Single, other: Single) -> float:
    """The same for one split."""
    if not mine.alone or not other.alone:
        return mine.alone
    seconds = busy(mine.alone, mine.held, part_met(other.traffic / other.alone))
    return seconds + mine.links * min(1.0, other.links / other.alone)
