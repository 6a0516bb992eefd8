# SPDX-License-Identifier: Apache-2.0
"""From measured series to the tables that a forecast reads: times by the sums of a Load.

A table's rows have sequences of one length; a load has sums. Sums are read as sequences of their mean length, and the
table is laid out over (sequences, sum), where it is made to rise along both: one more request or one more token in a
batch never shortens an iteration. Where rows say otherwise (a kernel that is quicker for two sequences of half the
length) the nearest table that rises is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration_grid import rising_medians
from flexnpu.forecast.calibration_series import Series, chosen
from flexnpu.forecast.lattice import Lattice
from flexnpu.forecast.tables.rows import LABELS, SIZES, Mask, Rows, rows_of
from flexnpu.hardware import Soc

_STEP = 2.0**0.5  # between knots of a sum
_WIDE_STEP = 2.0  # where a table has four sizes
_BEYOND = 8.0  # times the measured range that the tables go on, and at least to these; then it is in proportion
_UNMEASURED = 1e-3  # weight of an entry where no call was measured
_MOST_TOKENS, _MOST_SEQUENCES, _MOST_SEEN, _MOST_PAIRS = 2.0**17, 2.0**10, 2.0**24, 2.0**34


def gemm_lattice(series: Sequence[Series], soc: Soc, n: float, k: float, dtype: str) -> Lattice | None:
    """Seconds by rows of a matrix product; None where the format was not measured."""
    one = chosen(series, "gemm", {"dtype": dtype})
    if one is None:
        return None
    m = _with_more(one.surface.axes[0].knots, _MOST_TOKENS)
    rows = _rows("gemm", {"m": m, "n": n, "k": k}, {**one.labels, "dtype": dtype})
    return Lattice([m], np.log(one.seconds(rows, soc)), [0])


def layers_lattice(series: Sequence[Series], soc: Soc, layers: Mapping[str, float]) -> Lattice | None:
    """Seconds by tokens (or sequences) of named layers together, each so many times; None where none was measured."""
    found = {name: chosen(series, "layer", {"layer": name}) for name in layers}
    known = {name: one for name, one in found.items() if one is not None}
    if not known:
        return None
    tokens = np.unique(np.concatenate([one.surface.axes[0].knots for one in known.values()]))
    tokens = _with_more(tokens, _MOST_TOKENS)
    times = sum(
        layers[name] * one.seconds(_rows("layer", {"tokens": tokens}, one.labels), soc) for name, one in known.items()
    )
    return Lattice([tokens], np.log(times), [0])


def generation_lattice(
    series: Sequence[Series], soc: Soc, sizes: Mapping[str, float], formats: Mapping[str, str]
) -> Lattice | None:
    """Seconds by (sequences, keys seen in all)."""
    mixed = chosen(series, "mixed", {})
    if mixed is not None:
        knots = _running_knots(mixed)
        return _lattice(mixed, soc, _running_rows, knots)
    one = chosen(series, "generation", {**formats, "head_dim": sizes["head_dim"]})
    if one is None:
        return None
    batch, length = one.surface.axes[0].knots, one.surface.axes[1].knots
    fixed, labels = {**sizes, "window": 0.0}, {**one.labels, **formats}

    def rows(sequences: Floats, seen: Floats) -> Rows:
        each = {"batch": sequences, "length": np.maximum(seen / sequences, 1.0)}
        return _rows("generation", {**fixed, **each}, labels)

    return _lattice(one, soc, rows, (_with_more(batch, _MOST_SEQUENCES), _sums(batch, length, _MOST_SEEN)))


def context_lattice(
    series: Sequence[Series], soc: Soc, sizes: Mapping[str, float], formats: Mapping[str, str]
) -> Lattice | None:
    """Seconds by (sequences, pairs of a query and a key in all)."""
    one = chosen(series, "context", {**formats, "head_dim": sizes["head_dim"], "causal": 1.0})
    if one is None:
        return None
    batch, length = one.surface.axes[0].knots, one.surface.axes[1].knots
    fixed, labels = {**sizes, "window": 0.0, "causal": 1.0, "cached": 0.0}, {**one.labels, **formats}

    def rows(sequences: Floats, pairs: Floats) -> Rows:
        return _rows("context", {**fixed, "batch": sequences, "new": length_of(pairs / sequences)}, labels)

    sums = _sums(batch, length * (length + 1.0) / 2.0, _MOST_PAIRS)
    return _lattice(one, soc, rows, (_with_more(batch, _MOST_SEQUENCES), sums))


class JoinedKnots(NamedTuple):
    """Of calls over a prompt and running requests."""

    cached: Floats  # of the prompt
    tokens: Floats
    pairs: Floats
    requests: Floats  # the prompt too
    read: Floats  # cached keys of running requests, in all
    most_cached: float  # that were measured
    most_requests: float


def joined_knots(mixed: Series) -> JoinedKnots:
    """Those that were measured, and doublings beyond. An axis from 0 on is logarithmic from half its first knot on."""
    new, cached, sequences, length = (_positive(mixed, axis) for axis in range(4))
    most = float(new[-1] * (cached[-1] + new[-1] / 2.0))
    pairs = _geometric(float(new[0] * (new[0] + 1.0) / 2.0), most, _WIDE_STEP)
    return JoinedKnots(
        _from_none(_beyond(cached)),
        np.append(1.0, _beyond(new)),
        np.concatenate([[3.0], pairs, _beyond(pairs[-1:])[1:]]),
        np.append(1.0, sequences + 1.0),
        _from_none(_geometric(length[0], sequences[-1] * length[-1], _WIDE_STEP)),
        float(cached[-1]),
        float(sequences[-1]),
    )


def joined_seconds(
    mixed: Series, soc: Soc, knots: JoinedKnots, shape: Sequence[int], sums: tuple[Floats, Floats, Floats, Floats]
) -> Floats:
    """By cached keys and tokens of the prompt, running requests and their cached keys; the third axis are requests.

    More requests over as many keys were measured to take less: the longest of a few is waited for. Of tables that rise
    along requests the one is taken whose relative errors are least; what was not measured counts next to nothing.
    """
    cached, new, running, read = (each.reshape(-1) for each in sums)
    length = np.where(running > 0, read / np.maximum(running, 1.0), 0.0)
    rows = _rows("mixed", {"new": new, "cached": cached, "sequences": running, "length": length}, {})
    found = mixed.seconds(rows, soc)
    lengths = _positive(mixed, 3)
    beside = np.isclose(length, np.clip(length, lengths[0], lengths[-1])) & (running < knots.most_requests)
    weights = np.where(np.where(running > 0, beside, read <= 0), 1.0, _UNMEASURED) / found
    return rising_medians(found.reshape(shape), 2, weights.reshape(shape))


def tokens_of(cached: Floats, pairs: Floats) -> Floats:
    """How many tokens a prompt has that makes so many pairs after so many cached keys."""
    own = cached + 0.5
    found: Floats = 2.0 * pairs / (np.sqrt(own**2 + 2.0 * pairs) + own)
    return found


def pairs_of(new: Floats, cached: Floats) -> Floats:
    """How many pairs of a query and a key so many tokens make after so many cached keys."""
    return new * cached + new * (new + 1.0) / 2.0


def length_of(pairs: Floats) -> Floats:
    """How long a prompt is that has so many pairs of a query and a key: l (l + 1) / 2."""
    return np.maximum((np.sqrt(1.0 + 8.0 * pairs) - 1.0) / 2.0, 1.0)


def _lattice(one: Series, soc: Soc, rows: Callable[..., Rows], knots: Sequence[Floats]) -> Lattice:
    """The series at sums, made to rise along all of them."""
    mesh = np.meshgrid(*knots, indexing="ij")
    asked = rows(*(each.reshape(-1) for each in mesh))
    inside = one.surface.edge(asked.sizes)
    measured = np.all([np.isclose(inside[name], asked.sizes[name]) for name in inside], axis=0)
    values = np.log(one.seconds(asked, soc)).reshape(mesh[0].shape)
    return Lattice(knots, nearest_rising(values, measured.reshape(values.shape)), range(len(knots)))


def nearest_rising(values: Floats, measured: Mask) -> Floats:
    """Values that rise along all axes: between the least that is nowhere under them and the most that is nowhere over.

    Both rise, so every mean of them does; the one is taken that is nearest where something was measured.
    """
    over, under = values, values
    for axis in range(values.ndim):
        over = np.maximum.accumulate(over, axis=axis)
        under = np.flip(np.minimum.accumulate(np.flip(under, axis=axis), axis=axis), axis=axis)
    if not measured.any():
        measured = np.ones_like(measured)
    parts = np.linspace(0.0, 1.0, 9)
    errors = [float(np.abs(part * over + (1.0 - part) * under - values)[measured].mean()) for part in parts]
    part = float(parts[int(np.argmin(errors))])
    return part * over + (1.0 - part) * under


def _rows(kind: str, sizes: Mapping[str, float | Floats], labels: Mapping[str, str | float]) -> Rows:
    columns = np.broadcast_arrays(*(np.asarray(sizes[name], dtype=np.float64) for name in SIZES[kind]))
    count = len(columns[0])
    words = {name: np.full(count, str(labels.get(name, ""))) for name in LABELS[kind]}
    return rows_of(kind, dict(zip(SIZES[kind], columns, strict=True)), words, np.ones(count))


def _positive(one: Series, axis: int) -> Floats:
    knots = one.surface.axes[axis].knots
    return knots[knots > 0]


def _with_more(knots: Floats, most: float) -> Floats:
    """Doublings from 1 to the first knot and from the last to `most`: the roofline says what is there."""
    first, last = float(knots[0]), float(knots[-1])
    below = first / np.power(2.0, np.arange(np.ceil(np.log2(first)), 0, -1)) if first > 1 else np.array([])
    above = last * np.power(2.0, np.arange(1, np.ceil(np.log2(max(_BEYOND, most / last))) + 1))
    return np.concatenate([below, knots, above])


def _sums(first: Floats, second: Floats, most: float) -> Floats:
    return _with_more(_geometric(first[0] * second[0], first[-1] * second[-1], _STEP), most)


def _beyond(knots: Floats) -> Floats:
    """And doublings from the last knot to _BEYOND times it."""
    return np.concatenate([knots, knots[-1] * np.power(2.0, np.arange(1.0, np.log2(_BEYOND) + 1.0))])


def _from_none(knots: Floats) -> Floats:
    return np.append(0.0, knots)


def _running_rows(sequences: Floats, seen: Floats) -> Rows:
    # The new token's own key is not counted in that table's lengths.
    length = np.maximum(seen / sequences - 1.0, 1.0)
    return _rows("mixed", {"new": 0.0, "cached": 0.0, "sequences": sequences, "length": length}, {})


def _running_knots(mixed: Series) -> tuple[Floats, Floats]:
    """Of sequences and of keys seen."""
    sequences, length = _positive(mixed, 2), _positive(mixed, 3)
    return sequences, _geometric(sequences[0] * length[0], sequences[-1] * length[-1], _WIDE_STEP)


def _geometric(low: float, high: float, step: float) -> Floats:
    count = int(np.ceil(np.log(high / low) / np.log(step))) + 1
    knots: Floats = low * np.power(step, np.arange(count, dtype=np.float64))
    return knots
