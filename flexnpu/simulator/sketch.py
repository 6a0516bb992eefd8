# SPDX-License-Identifier: Apache-2.0
"""Quantiles of a stream in fixed memory, with a stated relative error.

Buckets whose bounds grow by a constant factor, as in DDSketch (Masson, Rim, Lee, VLDB 2019, arXiv 1908.10693): bucket
i holds values in (g^(i-1), g^i], g = (1 + e) / (1 - e), and answers 2 g^i / (g + 1), off by at most e of the value.
Values here are seconds, so the range is fixed and the buckets are a plain list: adding costs one logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flexnpu.forecast.batch import Floats

ERROR = 0.005  # relative
SMALLEST, LARGEST = 1e-6, 1e6  # seconds; smaller values count as 0, larger ones as LARGEST, min and max stay exact
_GROWTH = (1 + ERROR) / (1 - ERROR)
_SCALE = 1 / math.log(_GROWTH)
_FIRST = math.ceil(math.log(SMALLEST) * _SCALE)
_BUCKETS = math.ceil(math.log(LARGEST) * _SCALE) - _FIRST + 2  # bucket 0 is for 0


class Sketch:
    """Counts, exact mean, least and greatest, and quantiles within `ERROR` of the value at that rank."""

    __slots__ = ("_counts", "_sum", "count", "greatest", "least")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._sum = 0.0
        self.count = 0
        self.least, self.greatest = math.inf, -math.inf

    def add(self, value: float, count: int = 1) -> None:
        """`count` times `value`, 0 or more seconds. NaN is a fault of the caller and raises ValueError."""
        if value > SMALLEST:
            index = min(math.ceil(math.log(value) * _SCALE) - _FIRST + 1, _BUCKETS - 1) if value < math.inf else -1
        elif value >= 0.0:
            index = 0
        else:
            raise ValueError(f"a latency of {value} s cannot be counted; it must be 0 or more")
        self._counts[index] += count
        self._sum += value * count
        self.count += count
        self.least = min(self.least, value)
        self.greatest = max(self.greatest, value)

    def add_all(self, values: Floats) -> None:
        """Every value of an array, none under 0 or NaN; the counts are those that `add` would give."""
        if not values.size:
            return
        least, greatest = float(values.min()), float(values.max())
        if not least >= 0.0:
            raise ValueError(f"a latency of {least} s cannot be counted; it must be 0 or more")
        logs = np.log(np.maximum(values, SMALLEST)) * _SCALE
        indices = np.minimum(np.ceil(logs).astype(np.int64) - _FIRST + 1, _BUCKETS - 1)
        indices[values <= SMALLEST] = 0
        first = int(indices.min())
        for index, count in enumerate(np.bincount(indices - first).tolist(), start=first):
            self._counts[index] += count
        self._sum += float(values.sum())
        self.count += values.size
        self.least, self.greatest = min(self.least, least), max(self.greatest, greatest)

    @property
    def mean(self) -> float | None:
        return self._sum / self.count if self.count else None

    def quantile(self, part: float) -> float | None:
        """The value at rank part * (count - 1), rounded up as a rank; None when nothing was counted."""
        if not self.count:
            return None
        rank, seen = math.ceil(part * (self.count - 1)), 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen > rank:
                return self._answer(index)
        return self.greatest

    def distribution(self, points: int = 200) -> list[tuple[float, float]]:
        """Rising (value, part of the values up to it) pairs for a plot: the buckets, thinned to about `points`."""
        steps = list(self._steps())
        if len(steps) <= points:
            return steps
        kept, least_rise = [steps[0]], 1.0 / points
        for step in steps[1:-1]:
            if step[1] - kept[-1][1] >= least_rise or step[0] > kept[-1][0] * 1.1:
                kept.append(step)
        return [*kept, steps[-1]]

    def _steps(self) -> Iterator[tuple[float, float]]:
        seen = 0
        for index, count in enumerate(self._counts):
            if count:
                seen += count
                yield self._answer(index), seen / self.count

    def _answer(self, index: int) -> float:
        value = 0.0 if index == 0 else 2 * _GROWTH ** (index - 1 + _FIRST) / (_GROWTH + 1)
        return min(max(value, self.least), self.greatest)
