# SPDX-License-Identifier: Apache-2.0
"""A profile from a table: believe what can be true, fit it, and take constants for what the table does not have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from flexnpu.forecast.calibration import fit
from flexnpu.forecast.calibration_series import Series
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.tables import Table, TableError, believed
from flexnpu.hardware import Soc, available, load_soc

# Kinds of operators that the kinds of rows stand for.
OPERATORS = {
    "gemm": ("gemm",),
    "context": ("context_attention",),
    "generation": ("generation_attention",),
    "mixed": ("context_attention", "generation_attention"),
    "layer": ("gemm", "elementwise"),
}


def calibrate(table: Table, soc: Soc, *, seed: int = 0, scored: bool = True) -> Profile:
    """The profile that a table gives on a device. Pure: the same table, the same profile.

    TableError: too many of its rows cannot be true. Rows that were rejected are counted in facts["rejected"].
    """
    good = believed(table, soc, str(table.facts.get("source", "the table")))
    series = fit(good, soc, seed=seed, scored=scored)
    base = Profile.of(soc)
    facts = {
        **{
            name: value for name, value in good.facts.items() if name in {"device", "model", "dtype", "sizes", "source"}
        },
        "soc": soc.name,
        "format": good.format,
        "rows": good.rows,
        "rejected": [str(each) for each in good.rejected],
    }
    return replace(
        base,
        **_constants(series, base),
        tile=1,  # where rows were measured, what cutting costs is in them
        uncertainty={**base.uncertainty, **_uncertainty(series)},
        series=series,
        facts=facts,
    )


def device_of(table: Table, path: Sequence[str] = ()) -> Soc:
    """The SoC that a table says it was measured on. TableError: it says none, or none that is known."""
    said = str(table.facts.get("device", ""))
    plain = _letters(said)
    names = [name for name in available(path) if _letters(name) in plain] if plain else []
    if not names:
        what = f"was measured on {said!r}, which is not known" if said else "does not say what it was measured on"
        raise TableError(
            f"the table {what}; give --device, one of {', '.join(available(path))}, or add a specification"
        )
    return load_soc(max(names, key=len), path)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def _constants(series: Sequence[Series], base: Profile) -> dict[str, float]:
    """Constants of the largest series of a kind, for operators whose format was not measured."""
    found: dict[str, float] = {}
    gemm = _largest(series, "gemm")
    if gemm is not None:
        launch, compute, memory = gemm.roofline
        found |= _part("compute_efficiency", compute) | _part("bandwidth_efficiency", memory)
        if launch > 0:
            found["matmul_seconds"] = min(launch, 10 * base.matmul_seconds)
    generation = _largest(series, "generation")
    if generation is not None:
        found |= _part("attention_bandwidth", generation.roofline[2])
    context = _largest(series, "context")
    if context is not None:
        found |= _part("attention_efficiency", context.roofline[1])
    return found


def _part(name: str, slowness: float) -> dict[str, float]:
    """A part of a peak that is reached; nothing where the fit had no use for the term."""
    return {name: float(np.clip(1.0 / slowness, 0.05, 1.0))} if slowness > 0 else {}


def _largest(series: Sequence[Series], kind: str) -> Series | None:
    return max((one for one in series if one.kind == kind), key=lambda one: one.rows, default=None)


def _uncertainty(series: Sequence[Series]) -> Mapping[str, float]:
    """Relative standard deviation by kind of operator, over all of its rows that were left out."""
    weights: dict[str, list[tuple[float, float]]] = {}
    for one in series:
        if np.isfinite(one.deviation):
            for operator in OPERATORS.get(one.kind, ()):
                weights.setdefault(operator, []).append((float(one.rows), one.deviation))
    return {
        # A handful of rows, half of them left out, can be off by anything.
        operator: min(2.0, float(np.sqrt(sum(rows * each**2 for rows, each in pairs) / sum(rows for rows, _ in pairs))))
        for operator, pairs in weights.items()
    }
