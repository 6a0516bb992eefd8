# SPDX-License-Identifier: Apache-2.0
"""A table of measurements becomes series: fit on rows, told how far off on rows left out. A pure function of a table.

Per kernel: a roofline with as few constants as it has terms (`calibration_roofline`), or for calls over a prompt and
running requests the sum of both (`calibration_joined`); then the smoothest surface of measured over that which passes
the rows (`calibration_grid`); then each line of it, roofline multiplied back, made to rise along tokens (isotonic
regression).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration_grid import Rows as GridRows
from flexnpu.forecast.calibration_grid import axes_of, complete, rising_along, tuned
from flexnpu.forecast.calibration_joined import added
from flexnpu.forecast.calibration_roofline import nearest_roofline, roofline_of
from flexnpu.forecast.calibration_series import AXES, RISING, Series, chosen, groups_of, key_names, terms_of
from flexnpu.forecast.surface import Axis, Index, Surface
from flexnpu.forecast.tables import Rows, Table, rows_of
from flexnpu.hardware import Soc

MOST_TUNED = 8_000  # rows that an axis' stiffness is chosen by
_GUESSED = 0.02  # weight of an entry without a row beside one with a row


@dataclass(frozen=True, slots=True)
class Score:
    """How far a calibration is off on rows that it has not seen."""

    kind: str
    labels: Mapping[str, str | float]
    rows: int
    mape: float
    deviation: float


def split(rows: Rows, seed: int, part: float = 0.5) -> tuple[Rows, Rows]:
    """Rows in two, by shape: rows of one shape and series stay together. The first has about `part` of the shapes."""
    series = np.zeros(len(rows))
    for number, places in enumerate(groups_of(rows).values()):
        series[places] = number
    shapes = np.column_stack([series, *(rows.sizes[name] for name in AXES[rows.kind])])
    _, which = np.unique(shapes, axis=0, return_inverse=True)
    first = np.random.default_rng(seed).random(int(which.max(initial=-1)) + 1) < part
    chosen_rows = first[which.reshape(-1)]
    return rows.take(chosen_rows), rows.take(~chosen_rows)


def fit(table: Table, soc: Soc, *, seed: int = 0, scored: bool = True) -> tuple[Series, ...]:
    """All series of a table. scored=False leaves out the error on rows left out, which costs a second fit."""
    return tuple(each for rows in table for each in fit_rows(rows, soc, seed=seed, scored=scored))


def fit_rows(rows: Rows, soc: Soc, *, seed: int = 0, scored: bool = True) -> list[Series]:
    """The series of rows of one kind; and, where a format has several kernels, one of them all together."""
    if rows.kind == "context":
        # Fewer keys than queries are on no axis; the roofline goes on to them.
        rows = rows.take(rows.sizes["cached"] >= 0)
    rows = _in_order(rows)
    names = key_names(rows.kind)
    return [
        _series(rows.take(places), dict(zip(names, key, strict=True)), soc, seed, scored=scored)
        for key, places in _groups(rows).items()
    ]


def _in_order(rows: Rows) -> Rows:
    """The same rows whatever their order in the file was: what is drawn from them depends on places."""
    return rows.take(np.lexsort((rows.seconds, *rows.sizes.values(), *rows.labels.values())))


def predict(series: Sequence[Series], rows: Rows, soc: Soc) -> Floats:
    """Times of rows, each by the nearest series; NaN where nothing of its format was measured."""
    found = np.full(len(rows), np.nan)
    names = key_names(rows.kind)
    for key, places in groups_of(rows).items():
        one = chosen(series, rows.kind, dict(zip(names, key, strict=True)))
        if one is not None:
            found[places] = one.seconds(rows.take(places), soc)
    return found


def evaluate(table: Table, soc: Soc, *, seed: int = 0, part: float = 0.5) -> list[Score]:
    """Fit on one part of each kind's shapes, score on the other: one score per series, and one per kind."""
    scores: list[Score] = []
    for rows in table:
        known, left = split(rows, seed, part)
        if len(known) and len(left):
            scores.extend(score(fit_rows(known, soc, seed=seed, scored=False), left, soc))
    return scores


def score(series: Sequence[Series], rows: Rows, soc: Soc) -> list[Score]:
    """Errors by series, and over all of the rows (labels empty). Rows of no series are left out."""
    errors = predict(series, rows, soc) / rows.seconds - 1.0
    names, found = key_names(rows.kind), []
    groups = groups_of(rows)
    for key, places in groups.items():
        found.append(_score(rows.kind, dict(zip(names, key, strict=True)), errors[places]))
    return [*found, _score(rows.kind, {}, errors)] if len(groups) != 1 else [_score(rows.kind, {}, errors)]


def _score(kind: str, labels: Mapping[str, str | float], errors: Floats) -> Score:
    known = errors[np.isfinite(errors)]
    if not known.size:
        return Score(kind, labels, 0, float("nan"), float("nan"))
    return Score(kind, labels, known.size, float(np.abs(known).mean()), float(np.sqrt((known**2).mean())))


def _groups(rows: Rows) -> dict[tuple[str | float, ...], Index]:
    """Places of each series' rows; kernels that share a format also make one series together, of kernel ""."""
    groups, names = groups_of(rows), key_names(rows.kind)
    if "kernel" not in names:
        return groups
    where = names.index("kernel")
    merged: dict[tuple[str | float, ...], list[Index]] = {}
    for key, places in groups.items():
        merged.setdefault((*key[:where], "", *key[where + 1 :]), []).append(places)
    return groups | {key: np.concatenate(parts) for key, parts in merged.items() if len(parts) > 1}


def _stiffness(grid: GridRows, seed: int) -> tuple[float, ...]:
    rows = len(grid.values)
    if rows > MOST_TUNED:
        places = np.random.default_rng(seed).choice(rows, MOST_TUNED, replace=False)
        grid = grid.chosen(np.isin(np.arange(rows), places))
    return tuned(grid, seed)


def _series(rows: Rows, labels: Mapping[str, str | float], soc: Soc, seed: int, *, scored: bool) -> Series:
    deviation = mape = float("nan")
    if scored:
        known, left = split(rows, seed)
        if len(known) and len(left):
            trial = _series(known, labels, soc, seed, scored=False)
            errors = trial.seconds(left, soc) / left.seconds - 1.0
            deviation, mape = float(np.sqrt((errors**2).mean())), float(np.abs(errors).mean())
    surface = _surface(rows, soc, seed)
    # Entries that no row is at follow their neighbours.
    along = [AXES[rows.kind].index(name) for name in RISING[rows.kind]]
    weights = GridRows(surface.axes, _sizes(rows), rows.seconds).weights() + _GUESSED
    surface = Surface(surface.axes, rising_along(surface.log_values, along, weights))
    return Series(rows.kind, labels, surface, tuple(roofline_of(rows, soc).tolist()), deviation, mape, len(rows))


def _surface(rows: Rows, soc: Soc, seed: int) -> Surface:
    """The smoothest one through the rows. Running requests without a prompt are another kernel: apart from the rest."""
    prompts = rows.sizes["new"] > 0 if rows.kind == "mixed" else np.zeros(len(rows), dtype=bool)
    if not prompts.any():
        terms = nearest_roofline(rows, soc)
        axes = axes_of(AXES[rows.kind], _sizes(rows))
        base = np.log(terms @ terms_of(_everywhere(rows, axes), soc)).reshape([len(axis.knots) for axis in axes])
        return _smooth(rows, axes, base, np.log(rows.seconds / (terms @ terms_of(rows, soc))), seed)
    if prompts.all():
        axes = axes_of(AXES[rows.kind], _sizes(rows))
        base = added(rows, axes)
        told = GridRows(axes, _sizes(rows), rows.seconds).read(base)
        return _smooth(rows, axes, base, np.log(rows.seconds) - told, seed)
    new, *rest = axes_of(AXES[rows.kind], _sizes(rows))
    roofline, parts = tuple(roofline_of(rows, soc).tolist()), []
    for there, knots in ((~prompts, new.knots[:1]), (prompts, new.knots[1:])):
        few = rows.take(there)
        one = Series(rows.kind, {}, _surface(few, soc, seed), roofline, float("nan"), float("nan"), len(few))
        part = (Axis(new.name, knots), *rest)
        parts.append(np.log(one.seconds(_everywhere(rows, part), soc)).reshape([len(axis.knots) for axis in part]))
    return Surface((new, *rest), np.concatenate(parts))


def _smooth(rows: Rows, axes: tuple[Axis, ...], base: Floats, values: Floats, seed: int) -> Surface:
    """base: logarithms at the knots of what the surface is of; values: those of what the rows take over it."""
    grid = GridRows(axes, _sizes(rows), values)
    return Surface(axes, complete(grid, _stiffness(grid, seed)) + base)


def _sizes(rows: Rows) -> list[Floats]:
    return [rows.sizes[name] for name in AXES[rows.kind]]


def _everywhere(rows: Rows, axes: Sequence[Axis]) -> Rows:
    """Rows at every entry of the grid."""
    mesh = np.meshgrid(*(axis.knots for axis in axes), indexing="ij")
    count = mesh[0].size
    sizes = {name: np.full(count, float(column[0])) for name, column in rows.sizes.items()}
    sizes |= {axis.name: part.reshape(-1) for axis, part in zip(axes, mesh, strict=True)}
    labels = {name: np.full(count, str(column[0])) for name, column in rows.labels.items()}
    return rows_of(rows.kind, sizes, labels, np.ones(count))
