# SPDX-License-Identifier: Apache-2.0
"""A whole grid from the rows of it that were measured: the smoothest one that passes them.

Minimises sum_i (P x - y)_i^2 + sum_axes lambda_a sum (x_j+1 - x_j)^2 / h_j over the grid x, where P interpolates to row
i and h is the distance of two knots in doublings: a Gaussian Markov random field (Rue and Held, 2005), solved with
conjugate gradients. Each axis' stiffness lambda is chosen by rows left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.surface import Axis, corners
from flexnpu.forecast.tables.rows import Mask

MOST_KNOTS = 96  # of one axis; more different sizes are binned
MOST_CELLS = 300_000
STIFFNESS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_ANCHOR = 1e-6  # holds entries that nothing reaches at the mean
_STEPS = 300
_TOLERANCE = 1e-5
_ROUGH = 1e-2  # is enough to tell stiffnesses apart


def axis_of(name: str, sizes: Floats, most: int = MOST_KNOTS) -> Axis:
    """Knots at the sizes that occur; at geometric steps between them where those are too many."""
    knots = np.unique(sizes)
    if len(knots) > most:
        positive = knots[knots > 0]
        steps = np.geomspace(positive[0], positive[-1], most - (knots[0] == 0))
        knots = np.concatenate([[0.0], steps]) if knots[0] == 0 else steps
    return Axis(name, knots)


def axes_of(names: Sequence[str], sizes: Sequence[Floats]) -> tuple[Axis, ...]:
    """Axes whose grid is not larger than MOST_CELLS."""
    most = MOST_KNOTS
    axes = tuple(axis_of(name, each, most) for name, each in zip(names, sizes, strict=True))
    while np.prod([float(len(axis.knots)) for axis in axes]) > MOST_CELLS and most > 2:
        most -= max(1, most // 10)
        axes = tuple(axis_of(name, each, most) for name, each in zip(names, sizes, strict=True))
    return axes


class Rows:
    """Rows as the grid sees them: which entries each lies between."""

    def __init__(self, axes: Sequence[Axis], sizes: Sequence[Floats], values: Floats) -> None:
        self.axes, self.values = tuple(axes), values
        self.shape = tuple(len(axis.knots) for axis in axes)
        # A row on a knot has one corner of weight 1: the others would only cost time.
        self.corners = [(index, weight) for index, weight in corners(axes, sizes) if np.any(weight > 0)]

    def chosen(self, mask: Mask) -> Rows:
        """Some of the rows."""
        copy = Rows.__new__(Rows)
        copy.axes, copy.shape, copy.values = self.axes, self.shape, self.values[mask]
        copy.corners = [(index[mask], weight[mask]) for index, weight in self.corners]
        return copy

    def read(self, grid: Floats) -> Floats:
        """P x: the grid's values at the rows."""
        flat = grid.reshape(-1)
        found: Floats = np.sum([weight * flat[index] for index, weight in self.corners], axis=0)
        return found

    def spread(self, values: Floats) -> Floats:
        """The transpose of `read`."""
        total = np.zeros(int(np.prod(self.shape)))
        for index, weight in self.corners:
            total += np.bincount(index, weights=weight * values, minlength=len(total))
        return total.reshape(self.shape)

    def weights(self) -> Floats:
        """How many rows each entry of the grid has to itself."""
        total = np.zeros(int(np.prod(self.shape)))
        for index, weight in self.corners:
            total += np.bincount(index, weights=weight**2, minlength=len(total))
        return total.reshape(self.shape)


def complete(rows: Rows, stiffness: Sequence[float], tolerance: float = _TOLERANCE) -> Floats:
    """The grid for rows with these values, by stiffness per axis."""
    mean = float(rows.values.mean())
    springs = [
        (
            number,
            (each / np.diff(axis.places)).reshape([-1 if number == other else 1 for other in range(len(rows.axes))]),
        )
        for number, (axis, each) in enumerate(zip(rows.axes, stiffness, strict=True))
        if len(axis.knots) > 1
    ]
    weights = rows.weights()
    on_knots = len(rows.corners) == 1
    diagonal = weights + _ANCHOR
    for number, spring in springs:
        diagonal[_part(len(rows.axes), number, slice(1, None))] += spring
        diagonal[_part(len(rows.axes), number, slice(None, -1))] += spring

    def pull(grid: Floats) -> Floats:
        force = (weights * grid if on_knots else rows.spread(rows.read(grid))) + _ANCHOR * grid
        for number, spring in springs:
            step = np.diff(grid, axis=number) * spring
            force[_part(grid.ndim, number, slice(1, None))] += step
            force[_part(grid.ndim, number, slice(None, -1))] -= step
        return force

    return mean + _conjugate_gradients(pull, rows.spread(rows.values - mean), diagonal, tolerance)


def _part(dimensions: int, number: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if number == other else slice(None) for other in range(dimensions))


def _conjugate_gradients(
    pull: Callable[[Floats], Floats], target: Floats, diagonal: Floats, tolerance: float
) -> Floats:
    """Solves pull(grid) = target, which is symmetric and positive; `diagonal` is pull's own."""
    grid, rest = np.zeros_like(target), target.copy()
    eased = rest / diagonal
    way, size = eased.copy(), float(np.vdot(rest, eased))
    enough = tolerance**2 * size
    for _ in range(_STEPS):
        if size <= enough:
            break
        pulled = pull(way)
        length = size / float(np.vdot(way, pulled))
        grid += length * way
        rest -= length * pulled
        eased = rest / diagonal
        before, size = size, float(np.vdot(rest, eased))
        way = eased + (size / before) * way
    return grid


def tuned(rows: Rows, seed: int = 0, sweeps: int = 2) -> tuple[float, ...]:
    """Stiffness per axis that predicts rows left out best, one axis after the other."""
    draw = np.random.default_rng(seed).random(len(rows.values))
    kept, left = rows.chosen(draw >= 0.25), rows.chosen(draw < 0.25)
    best = [0.03] * len(rows.axes)
    if not len(left.values) or not len(kept.values):
        return tuple(best)

    def error(stiffness: Sequence[float]) -> float:
        return float(np.abs(left.read(complete(kept, stiffness, _ROUGH)) - left.values).mean())

    least = error(best)
    for _ in range(sweeps):
        before = list(best)
        for number, axis in enumerate(rows.axes):
            if len(axis.knots) > 1:
                best, least = _walk(error, best, number, least)
        if best == before:
            break
    return tuple(best)


def _walk(
    error: Callable[[list[float]], float], best: list[float], number: int, least: float
) -> tuple[list[float], float]:
    """Downhill along one axis' stiffness, from where it is."""
    for way in (1, -1):
        place = STIFFNESS.index(best[number]) + way
        while 0 <= place < len(STIFFNESS):
            tried = [*best[:number], STIFFNESS[place], *best[number + 1 :]]
            now = error(tried)
            if now >= least:
                break
            best, least, place = tried, now, place + way
    return best, least


def rising(grid: Floats, number: int, weights: Floats) -> Floats:
    """The nearest grid (weighted least squares by line) that never falls along one axis: pool adjacent violators."""
    lines, heavy = np.moveaxis(grid, number, -1), np.moveaxis(weights, number, -1)
    flat = lines.copy().reshape(-1, lines.shape[-1])
    loads = heavy.reshape(flat.shape)
    for place in np.flatnonzero(np.any(np.diff(flat, axis=1) < 0, axis=1)).tolist():
        flat[place] = _pooled(flat[place], loads[place])
    return np.moveaxis(flat.reshape(lines.shape), -1, number)


def rising_along(grid: Floats, numbers: Sequence[int], weights: Floats) -> Floats:
    """A near grid that falls along none of these axes."""
    for _ in range(3):
        for number in numbers:
            grid = rising(grid, number, weights)
    # What is left, if anything, is made to rise by the running maximum, which undoes nothing along other axes.
    for number in numbers:
        grid = np.maximum.accumulate(grid, axis=number)
    return grid


def rising_medians(grid: Floats, number: int, weights: Floats) -> Floats:
    """The nearest grid by absolute errors, line by line, that never falls along one axis.

    Largest of least medians of runs of the line (Robertson and Wright, 1980). Nothing along another axis is kept.
    """
    lines, heavy = np.moveaxis(grid, number, -1), np.moveaxis(weights, number, -1)
    found = np.full(lines.shape, -np.inf)
    for first in range(lines.shape[-1]):
        least = np.full(lines.shape[:-1], np.inf)
        for last in reversed(range(first, lines.shape[-1])):
            run = slice(first, last + 1)
            least = np.minimum(least, _median(lines[..., run], heavy[..., run]))
            found[..., last] = np.maximum(found[..., last], least)
    return np.moveaxis(found, -1, number)


def _median(values: Floats, weights: Floats) -> Floats:
    """Along the last axis: the least value that half of the weight is not over."""
    order = np.argsort(values, axis=-1, kind="stable")
    shares = np.cumsum(np.take_along_axis(weights, order, -1), axis=-1)
    place = np.argmax(shares >= 0.5 * shares[..., -1:], axis=-1)
    found: Floats = np.take_along_axis(np.take_along_axis(values, order, -1), place[..., None], -1)[..., 0]
    return found


def _pooled(line: Floats, weights: Floats) -> Floats:
    means: list[float] = []
    loads: list[float] = []
    counts: list[int] = []
    for value, weight in zip(line.tolist(), weights.tolist(), strict=True):
        means.append(value)
        loads.append(weight)
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            load = loads[-2] + loads[-1]
            means[-2:] = [(means[-2] * loads[-2] + means[-1] * loads[-1]) / load]
            loads[-2:], counts[-2:] = [load], [counts[-2] + counts[-1]]
    return np.repeat(means, counts)
