# SPDX-License-Identifier: Apache-2.0
"""From measured series to the tables that a forecast reads: times by the sums of a Load.

A table's rows have sequences of one length; a load has sums. Sums are read as sequences of their mean length, and the
table is laid out over (sequences, sum), where it is made to rise along both: one more request or one more token in a
batch never shortens an iteration. Rows that say otherwise (a kernel that is quicker for two sequences of half the
length) are answered with the larger time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration_series import Series, chosen
from flexnpu.forecast.lattice import Lattice
from flexnpu.forecast.tables.rows import LABELS, SIZES, Rows, rows_of
from flexnpu.hardware import Soc

_STEP = 2.0**0.5  # between knots of a sum
_WIDE_STEP = 2.0  # where a table has four sizes
_BEYOND = 8.0  # times the measured range that the tables go on


def gemm_lattice(series: Sequence[Series], soc: Soc, n: float, k: float, dtype: str) -> Lattice | None:
    """Seconds by rows of a matrix product; None where the format was not measured."""
    one = chosen(series, "gemm", {"dtype": dtype})
    if one is None:
        return None
    m = _with_more(one.surface.axes[0].knots)
    rows = _rows("gemm", {"m": m, "n": n, "k": k}, {**one.labels, "dtype": dtype})
    return Lattice([m], np.log(one.seconds(rows, soc)), [0])


def layers_lattice(series: Sequence[Series], soc: Soc, layers: Mapping[str, float]) -> Lattice | None:
    """Seconds by tokens (or sequences) of named layers together, each so many times; None where none was measured."""
    found = {name: chosen(series, "layer", {"layer": name}) for name in layers}
    known = {name: one for name, one in found.items() if one is not None}
    if not known:
        return None
    tokens = _with_more(np.unique(np.concatenate([one.surface.axes[0].knots for one in known.values()])))
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
        return _lattice(mixed, soc, _generation_of_mixed, *_running_knots(mixed))
    one = chosen(series, "generation", {**formats, "head_dim": sizes["head_dim"]})
    if one is None:
        return None
    batch, length = one.surface.axes[0].knots, one.surface.axes[1].knots

    def rows(sequences: Floats, seen: Floats) -> Rows:
        return _rows(
            "generation",
            {**sizes, "window": 0.0, "batch": sequences, "length": np.maximum(seen / sequences, 1.0)},
            {**one.labels, **formats},
        )

    return _lattice(one, soc, rows, _with_more(batch), _sums(batch, length))


def context_lattice(
    series: Sequence[Series], soc: Soc, sizes: Mapping[str, float], formats: Mapping[str, str]
) -> Lattice | None:
    """Seconds by (sequences, pairs of a query and a key in all)."""
    one = chosen(series, "context", {**formats, "head_dim": sizes["head_dim"], "causal": 1.0})
    if one is None:
        return None
    batch, length = one.surface.axes[0].knots, one.surface.axes[1].knots

    def rows(sequences: Floats, pairs: Floats) -> Rows:
        return _rows(
            "context",
            {**sizes, "window": 0.0, "causal": 1.0, "cached": 0.0, "batch": sequences, "new": length_of(pairs / sequences)},
            {**one.labels, **formats},
        )

    return _lattice(one, soc, rows, _with_more(batch), _sums(batch, length * (length + 1.0) / 2.0))


def prompt_lattice(series: Sequence[Series], soc: Soc) -> Lattice | None:
    """Seconds by (new tokens, pairs) of a prompt's part alone, where mixed calls were measured."""
    mixed = chosen(series, "mixed", {})
    if mixed is None:
        return None
    return _lattice(mixed, soc, _context_of_mixed, *_prompt_knots(mixed))


def mixed_lattice(series: Sequence[Series], soc: Soc) -> Lattice | None:
    """Seconds by (new tokens, pairs, sequences, keys seen) of one call over a prompt's part and running requests."""
    mixed = chosen(series, "mixed", {})
    if mixed is None:
        return None
    knots = [*_prompt_knots(mixed), *_running_knots(mixed)]
    new, pairs, sequences, seen = np.meshgrid(*knots, indexing="ij")
    rows = mixed_rows(*(each.reshape(-1) for each in (new, pairs, sequences, seen)))
    values = np.log(mixed.seconds(rows, soc)).reshape(new.shape)
    # Both together never take less than either alone, whose tables have the same knots.
    prompt = _lattice(mixed, soc, _context_of_mixed, *_prompt_knots(mixed)).many(new, pairs)
    running = _lattice(mixed, soc, _generation_of_mixed, *_running_knots(mixed)).many(sequences, seen)
    return Lattice(knots, np.maximum(values, np.log(np.maximum(prompt, running))), range(4))


def mixed_rows(new: Floats, pairs: Floats, sequences: Floats, seen: Floats) -> Rows:
    """Sums of a load as a row of the mixed table: several prompts are one with as many pairs."""
    one = np.minimum(new, length_of(pairs))
    cached = np.maximum(pairs / np.maximum(one, 1.0) - (one + 1.0) / 2.0, 0.0)
    # The new token's own key is not counted in that table's lengths.
    length = np.where(sequences > 0, np.maximum(seen / np.maximum(sequences, 1.0) - 1.0, 1.0), 0.0)
    return _rows("mixed", {"new": one, "cached": np.where(new > 0, cached, 0.0), "sequences": sequences, "length": length}, {})


def length_of(pairs: Floats) -> Floats:
    """How long a prompt is that has so many pairs of a query and a key: l (l + 1) / 2."""
    return np.maximum((np.sqrt(1.0 + 8.0 * pairs) - 1.0) / 2.0, 1.0)


def _generation_of_mixed(sequences: Floats, seen: Floats) -> Rows:
    return mixed_rows(np.zeros_like(seen), np.zeros_like(seen), sequences, seen)


def _context_of_mixed(new: Floats, pairs: Floats) -> Rows:
    return mixed_rows(new, pairs, np.zeros_like(new), np.zeros_like(new))


def _lattice(one: Series, soc: Soc, rows, first: Floats, second: Floats) -> Lattice:  # type: ignore[no-untyped-def]
    left, right = np.meshgrid(first, second, indexing="ij")
    times = one.seconds(rows(left.reshape(-1), right.reshape(-1)), soc)
    return Lattice([first, second], np.log(times).reshape(left.shape), [0, 1])


def _rows(kind: str, sizes: Mapping[str, float | Floats], labels: Mapping[str, str | float]) -> Rows:
    columns = np.broadcast_arrays(*(np.asarray(sizes[name], dtype=np.float64) for name in SIZES[kind]))
    count = len(columns[0])
    words = {name: np.full(count, str(labels.get(name, ""))) for name in LABELS[kind]}
    return rows_of(kind, dict(zip(SIZES[kind], columns, strict=True)), words, np.ones(count))


def _positive(one: Series, axis: int) -> Floats:
    knots = one.surface.axes[axis].knots
    return knots[knots > 0]


def _with_more(knots: Floats) -> Floats:
    return np.append(knots, knots[-1] * np.array([2.0, 4.0, _BEYOND]))


def _sums(first: Floats, second: Floats) -> Floats:
    return _geometric(first[0] * second[0], first[-1] * second[-1], _STEP)


def _prompt_knots(mixed: Series) -> tuple[Floats, Floats]:
    """Of new tokens and of pairs."""
    new, cached = _positive(mixed, 0), mixed.surface.axes[1].knots
    least, most = new[0] * (new[0] + 1.0) / 2.0, new[-1] * (cached[-1] + new[-1])
    return new, _geometric(least, most, _WIDE_STEP)


def _running_knots(mixed: Series) -> tuple[Floats, Floats]:
    """Of sequences and of keys seen."""
    sequences, length = _positive(mixed, 2), _positive(mixed, 3)
    return sequences, _geometric(sequences[0] * length[0], sequences[-1] * length[-1], _WIDE_STEP)


def _geometric(low: float, high: float, step: float) -> Floats:
    count = int(np.ceil(np.log(high / low) / np.log(step))) + 1
    return low * step ** np.arange(count)
