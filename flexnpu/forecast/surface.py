# SPDX-License-Identifier: Apache-2.0
"""A measured quantity over a few sizes: its logarithm at the knots of a grid, straight lines between them.

Lines in logarithms of a table that rises along an axis rise too, so what is monotone at the knots is monotone
everywhere. Outside the grid the edge is returned; who asks scales it by a roofline, which knows how to go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from flexnpu.forecast.batch import Floats

Index = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """Knots of one size, rising. An axis that starts at 0 is logarithmic from its first positive knot on."""

    name: str
    knots: Floats

    def place(self, size: float | Floats) -> Floats:
        """Where sizes lie on the axis' logarithmic scale; sizes outside the knots count as the edge."""
        return self._scale(np.clip(np.asarray(size, dtype=np.float64), self.knots[0], self.knots[-1]))

    @property
    def places(self) -> Floats:
        return self._scale(self.knots)

    def _scale(self, size: Floats) -> Floats:
        if self.knots[0] > 0:
            return np.log2(size)
        return np.log2(1.0 + size / (self.knots[1] if len(self.knots) > 1 else 1.0))


@dataclass(frozen=True, eq=False, slots=True)
class Surface:
    """log_values has one entry per combination of the axes' knots, in their order."""

    axes: tuple[Axis, ...]
    log_values: Floats

    def at(self, sizes: Mapping[str, float | Floats]) -> Floats:
        """Values at sizes that broadcast against each other."""
        wanted = np.broadcast_arrays(*(np.asarray(sizes[axis.name], dtype=np.float64) for axis in self.axes))
        flat = self.log_values.reshape(-1)
        total = np.zeros(wanted[0].shape)
        for index, weight in corners(self.axes, wanted):
            total += weight * flat[index]
        return np.exp(total)

    def edge(self, sizes: Mapping[str, float | Floats]) -> dict[str, Floats]:
        """The nearest sizes that the grid covers."""
        return {
            axis.name: np.clip(np.asarray(sizes[axis.name], dtype=np.float64), axis.knots[0], axis.knots[-1])
            for axis in self.axes
        }


def corners(axes: Sequence[Axis], sizes: Sequence[Floats]) -> list[tuple[Index, Floats]]:
    """The grid's entries around each point, as indices into the flattened grid, with their weights (sum 1)."""
    cells = [_cell(axis, size) for axis, size in zip(axes, sizes, strict=True)]
    strides = np.cumprod([1, *(len(axis.knots) for axis in reversed(axes))])[-2::-1]
    found = []
    for sides in product(*((0, 1) if len(axis.knots) > 1 else (0,) for axis in axes)):
        index = sum((low + side) * stride for side, (low, _), stride in zip(sides, cells, strides, strict=True))
        weight = np.prod([part if side else 1.0 - part for side, (_, part) in zip(sides, cells, strict=True)], axis=0)
        found.append((np.asarray(index, dtype=np.intp), np.asarray(weight, dtype=np.float64)))
    return found


def _cell(axis: Axis, size: Floats) -> tuple[Index, Floats]:
    if len(axis.knots) == 1:
        return np.zeros(np.shape(size), dtype=np.intp), np.zeros(np.shape(size))
    places, place = axis.places, axis.place(size)
    low = np.clip(np.searchsorted(places, place, side="right") - 1, 0, len(places) - 2)
    return low, (place - places[low]) / (places[low + 1] - places[low])
