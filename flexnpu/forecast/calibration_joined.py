# SPDX-License-Identifier: Apache-2.0
"""Calls over a prompt and running requests: what the prompt takes and what the requests take, added up.

The nearest such sum to the rows, by backfitting (Buja, Hastie and Tibshirani, 1989) of the relative error. It is what a
smooth surface is of, as a roofline is elsewhere: the surface has less to say than beside a roofline.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.surface import Axis, Index
from flexnpu.forecast.tables.rows import Mask, Rows

_SWEEPS = 30
_LEAST = 0.3  # of the shortest row's time, that a prompt takes


def added(rows: Rows, axes: Sequence[Axis]) -> Floats:
    """Logarithms of seconds at all knots of new, cached, sequences, length."""
    where = [_nearest(axis, rows.sizes[axis.name]) for axis in axes]
    count = [len(axis.knots) for axis in axes]
    prompt, running = where[0] * count[1] + where[1], where[2] * count[3] + where[3]
    weights = rows.seconds**-2.0
    heavy = _sums(prompt, weights, count[0] * count[1])
    light = _sums(running, weights, count[2] * count[3])
    least = _LEAST * float(rows.seconds.min())
    requests = np.zeros(len(light))
    none = np.repeat(axes[2].knots <= 0, count[3])
    for _ in range(_SWEEPS):
        alone = np.maximum(_means(prompt, weights, rows.seconds - requests[running], heavy), least)
        requests = np.where(none, 0.0, np.maximum(_means(running, weights, rows.seconds - alone[prompt], light), 0.0))
    first = _filled(alone.reshape(count[:2]), heavy.reshape(count[:2]) > 0)
    second = _filled(requests.reshape(count[2:]), light.reshape(count[2:]) > 0)
    found: Floats = np.log(first[:, :, None, None] + second)
    return found


def _nearest(axis: Axis, sizes: Floats) -> Index:
    """Which knot is nearest."""
    places = axis.places
    return np.searchsorted((places[1:] + places[:-1]) / 2.0, axis.place(sizes))


def _sums(places: Index, values: Floats, count: int) -> Floats:
    return np.bincount(places, values, count).astype(np.float64)


def _means(places: Index, weights: Floats, values: Floats, whole: Floats) -> Floats:
    return _sums(places, weights * values, len(whole)) / np.where(whole > 0, whole, 1.0)


def _filled(table: Floats, known: Mask) -> Floats:
    """What is not known is as what is next below along the second axis, or next above; else along the first."""
    for _ in range(2):
        numbers, last = np.arange(table.shape[1]), table.shape[1] - 1
        below = np.maximum.accumulate(np.where(known, numbers, -1), axis=1)
        above = np.flip(np.minimum.accumulate(np.flip(np.where(known, numbers, last), axis=1), axis=1), axis=1)
        filled = np.take_along_axis(table, np.where(below < 0, above, below), axis=1)
        table, known = filled.T, np.broadcast_to(known.any(axis=1, keepdims=True), known.shape).T
    return table
