# SPDX-License-Identifier: Apache-2.0
"""Measured times of one operator of one model, tabulated for quick answers: straight lines in logarithms.

What rises along every axis at the knots rises everywhere between them. Below the first knot the edge is the answer;
beyond the last one time grows in proportion.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import exp, log

import numpy as np

from flexnpu.forecast.batch import Floats

_RISING_TO = 1e30


class Lattice:
    """log_values by the knots of each axis. Built once, read often: scalars take no numpy."""

    def __init__(self, knots: Sequence[Floats], log_values: Floats, rising: Sequence[int]) -> None:
        self.knots = tuple(knots)
        for axis in rising:
            log_values = np.maximum.accumulate(log_values, axis=axis)
        # The far end: in proportion to the size, along the axes that rise.
        for axis in rising:
            last = np.take(log_values, [-1], axis=axis)
            far = log(_RISING_TO / float(knots[axis][-1]))
            log_values = np.concatenate([log_values, last + far], axis=axis)
        ends = [np.append(each, _RISING_TO) if axis in rising else each for axis, each in enumerate(knots)]
        self._places = [np.log(each) for each in ends]
        self._lists: list[list[float]] = [each.tolist() for each in self._places]
        self._values = log_values
        self._flat: list[float] = log_values.reshape(-1).tolist()
        self._strides = [int(np.prod(log_values.shape[axis + 1 :])) for axis in range(log_values.ndim)]

    def one(self, *sizes: float) -> float:
        """The value at one point."""
        points = [(0, 1.0)]
        for places, stride, size in zip(self._lists, self._strides, sizes, strict=True):
            near = around(places, size)
            points = [(start + place * stride, weight * share) for start, weight in points for place, share in near]
        flat = self._flat
        return exp(sum(flat[start] * weight for start, weight in points))

    def many(self, *sizes: float | Floats) -> Floats:
        """The values at points that broadcast against each other."""
        columns = np.broadcast_arrays(*(np.asarray(size, dtype=np.float64) for size in sizes))
        flat = self._values.reshape(-1)
        points = [(np.zeros(columns[0].shape, dtype=np.int64), np.ones(columns[0].shape))]
        for places, stride, column in zip(self._places, self._strides, columns, strict=True):
            place = np.clip(np.log(np.maximum(column, 1e-300)), places[0], places[-1])
            if len(places) == 1:
                continue
            low = np.clip(np.searchsorted(places, place, side="right") - 1, 0, len(places) - 2)
            part = (place - places[low]) / (places[low + 1] - places[low])
            points = [
                (start + step * stride, weight * share)
                for start, weight in points
                for step, share in ((low, 1.0 - part), (low + 1, part))
            ]
        found: Floats = np.exp(np.sum([flat[start] * weight for start, weight in points], axis=0))
        return found


class Lattices:
    """Many that share their knots, a row of logarithms at each: made to rise along all axes, and to fall along cores.

    A row: `cores` entries by numbers of cores, as many beside a neighbour, and one more. The first knot of an axis may
    be 0: then it is logarithmic from half its second knot on. Beyond the last, as Lattice.
    """

    def __init__(self, knots: Sequence[Floats], logs: Floats, cores: int, ends: Sequence[int] = ()) -> None:
        """ends: axes whose last knot is the answer beyond it."""
        for part in (logs[..., :cores], logs[..., cores : 2 * cores]):
            part[...] = np.maximum.accumulate(part[..., ::-1], axis=-1)[..., ::-1]
        places = []
        for axis, each in enumerate(knots):
            known = each.copy()
            if known[0] <= 0.0:
                known[0] = known[1] / 2.0
            logs = np.maximum.accumulate(logs, axis=axis)
            if axis not in ends:
                far = np.take(logs, [-1], axis=axis) + log(_RISING_TO / float(known[-1]))
                logs, known = np.concatenate([logs, far], axis=axis), np.append(known, _RISING_TO)
            places.append(np.log(known))
        self._last = places[-1]
        self._lists: list[list[float]] = [each.tolist() for each in places]
        self._strides = [int(np.prod(logs.shape[axis + 1 : -1])) for axis in range(len(knots))]
        self._rows = logs.reshape(-1, logs.shape[-1])

    def row(self, *sizes: float) -> Floats:
        """Logarithms at one point."""
        starts, weights = self._around(sizes)
        found: Floats = np.array(weights) @ self._rows[starts]
        return found

    def along(self, sizes: Sequence[float], last: Floats, entries: slice) -> Floats:
        """Some entries, by the last size."""
        places = np.log(np.maximum(last, 1e-300))
        around = zip(*self._around(sizes), strict=True)
        parts = [weight * self._rows[start : start + len(self._last), entries] for start, weight in around]
        return np.stack([np.interp(places, self._last, line) for line in np.sum(parts, axis=0).T], axis=-1)

    def _around(self, sizes: Sequence[float]) -> tuple[list[int], list[float]]:
        starts, weights = [0], [1.0]
        for places, stride, size in zip(self._lists, self._strides, sizes, strict=False):
            near = around(places, size)
            starts = [start + place * stride for place, _ in near for start in starts]
            weights = [weight * share for _, share in near for weight in weights]
        return starts, weights


def around(places: Sequence[float], size: float) -> list[tuple[int, float]]:
    """Knots beside a size, with their weights; places: their logarithms. Beyond either end, that end."""
    place = log(size) if size > 0.0 else places[0]
    if place <= places[0]:
        return [(0, 1.0)]
    if place >= places[-1]:
        return [(len(places) - 1, 1.0)]
    low = bisect_right(places, place) - 1
    part = (place - places[low]) / (places[low + 1] - places[low])
    return [(low, 1.0 - part), (low + 1, part)] if part else [(low, 1.0)]
