# SPDX-License-Identifier: Apache-2.0
"""From samples to figures: pure functions, and nothing that knows where the samples came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """How samples are spread. All in the samples' own unit."""

    count: int
    least: float
    median: float
    p90: float
    p99: float
    p999: float
    most: float

    @classmethod
    def of(cls, samples: Iterable[float] | Array) -> Spread:
        """Of at least one sample. A percentile is a sample: the least with so many at or below it."""
        values = np.sort(np.asarray(list(samples), dtype=np.float64))
        if values.size == 0:
            raise ValueError("no samples")
        p90, p99, p999 = (_percentile(values, part) for part in (0.90, 0.99, 0.999))
        return cls(values.size, float(values[0]), float(np.median(values)), p90, p99, p999, float(values[-1]))


def _percentile(ordered: Array, part: float) -> float:
    return float(ordered[max(0, int(np.ceil(part * ordered.size)) - 1)])


def histogram(samples: Sequence[float] | Array, edges: Sequence[float]) -> list[int]:
    """How many samples lie at or below the first edge, between each two, and beyond the last."""
    values = np.asarray(samples, dtype=np.float64)
    return [int(n) for n in np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)]


def beginnings(start: float, end: float, window: float, step: float) -> Array:
    """Of the windows of one length, `step` apart, inside [start, end]."""
    return np.arange(start, end - window + step * 1e-6, step)


@dataclass(frozen=True, slots=True)
class Busy:
    """When a tenant had the device: intervals in seconds, in order and not over each other."""

    starts: Array
    ends: Array

    @classmethod
    def of(cls, ends: Array, durations: Array) -> Busy:
        """Where an operator is said to begin before the one before it ended (a clock's grain), it is cut."""
        starts = ends - durations
        starts[1:] = np.maximum(starts[1:], ends[:-1])
        return cls(starts, ends)

    def within(self, start: float, end: float) -> float:
        """Seconds of device time between two moments."""
        if self.starts.size == 0:
            return 0.0
        overlap = np.minimum(self.ends, end) - np.maximum(self.starts, start)
        return float(overlap[overlap > 0].sum())

    def shares(self, start: float, end: float, window: float, step: float) -> Array:
        """The part of each window that it had; windows of one length, `step` apart, inside [start, end]."""
        firsts = beginnings(start, end, window, step)
        return (self.until(firsts + window) - self.until(firsts)) / window

    def between(self, start: float, end: float) -> tuple[Array, Array]:
        """Each operator's end and the next one's start, for those that begin within the two moments."""
        inside = (self.starts[1:] >= start) & (self.starts[1:] < end)
        return self.ends[:-1][inside], self.starts[1:][inside]

    def running_at(self, moments: Array) -> Array:
        """Seconds that the operator which runs at each moment still takes; 0 where none runs."""
        left = np.zeros_like(moments)
        if self.starts.size == 0:
            return left
        index = np.searchsorted(self.starts, moments, side="right") - 1
        found = index >= 0
        left[found] = np.maximum(0.0, self.ends[index[found]] - moments[found])
        return left

    def until(self, moments: Array) -> Array:
        """Seconds of device time up to each moment."""
        if self.starts.size == 0:
            return np.zeros_like(moments)
        before = np.concatenate(([0.0], np.cumsum(self.ends - self.starts)))
        index = np.searchsorted(self.starts, moments, side="right")
        last = np.maximum(index - 1, 0)
        over = np.where(index > 0, np.maximum(0.0, self.ends[last] - moments), 0.0)
        return np.asarray(before[index] - over)


def median_interval(samples: Sequence[float] | Array) -> tuple[float, float]:
    """Where the median lies with a confidence of about 95 %, by the order of the samples alone."""
    values = np.sort(np.asarray(samples, dtype=np.float64))
    reach = 0.98 * np.sqrt(values.size)
    low = max(0, int(np.floor(values.size / 2 - reach)))
    high = min(values.size - 1, int(np.ceil(values.size / 2 + reach)))
    return float(values[low]), float(values[high])
