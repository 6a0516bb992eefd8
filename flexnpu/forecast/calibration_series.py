# SPDX-License-Identifier: Apache-2.0
"""One measured kernel: its surface, the roofline beside it, and how far both were off on rows left out.

Within the grid the surface answers. Outside, the surface's edge is scaled by the roofline, so an answer neither falls
nor explodes however far away the question is; and nowhere is it under what the device's peaks allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.surface import Index, Surface
from flexnpu.forecast.tables.believe import least_seconds
from flexnpu.forecast.tables.rows import LABELS, Rows
from flexnpu.forecast.tables.work import work_of
from flexnpu.hardware import Soc

# Sizes that make a surface, and those along which time never falls. What is in neither tells series apart.
AXES: Mapping[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k"),
    "context": ("batch", "new", "cached", "heads", "kv_heads"),
    "generation": ("batch", "length", "heads", "kv_heads"),
    "mixed": ("new", "cached", "sequences", "length"),
    "layer": ("tokens",),
    "prefill": ("length", "batch"),
    "decode": ("batch", "length"),
}
RISING: Mapping[str, tuple[str, ...]] = {
    "gemm": ("m",),
    "context": ("cached", "batch", "new"),
    "generation": ("batch", "length"),
    "mixed": ("cached", "new", "sequences", "length"),
    "layer": ("tokens",),
    "prefill": ("batch", "length"),
    "decode": ("batch", "length"),
}
APART: Mapping[str, tuple[str, ...]] = {
    "context": ("head_dim", "window", "causal"),
    "generation": ("head_dim", "window"),
}


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """labels: what LABELS and APART name of it. roofline: seconds per term of `terms_of`, none of them negative."""

    kind: str
    labels: Mapping[str, str | float]
    surface: Surface
    roofline: tuple[float, ...]
    deviation: float  # relative standard deviation on rows left out
    mape: float  # mean absolute error there, relative
    rows: int

    def seconds(self, rows: Rows, soc: Soc) -> Floats:
        """Times of rows of this kind; none under what the device can do."""
        inside = self.surface.edge(rows.sizes)
        times = self.surface.at(inside)
        edge = Rows(rows.kind, {**rows.sizes, **inside}, rows.labels, rows.seconds, rows.group)
        return np.maximum(times * self.base(rows, soc) / self.base(edge, soc), least_seconds(rows, soc))

    def base(self, rows: Rows, soc: Soc) -> Floats:
        """The roofline alone."""
        return np.array(self.roofline) @ terms_of(rows, soc)


def terms_of(rows: Rows, soc: Soc) -> Floats:
    """What time is made of, terms by rows: a constant, then amounts that grow with the sizes. Sums, so monotone."""
    one = np.ones(len(rows))
    work = work_of(rows, soc)
    if work is not None:
        # Seconds at the data sheet's peaks: their factors are one over the part that is reached.
        return np.array([one, work.flops / soc.peak_flops, work.bytes / soc.hbm_bandwidth])
    sizes = rows.sizes
    if rows.kind == "mixed":
        new, cached = sizes["new"], sizes["cached"]
        seen = sizes["sequences"] * sizes["length"]
        return np.array([one, new * cached + new * (new + 1.0) / 2.0, new, new + cached, sizes["sequences"], seen])
    if rows.kind == "prefill":
        tokens = sizes["length"] * sizes["batch"]
        return np.array([one, tokens, tokens * sizes["length"]])
    if rows.kind == "decode":
        return np.array([one, sizes["batch"], sizes["batch"] * sizes["length"]])
    return np.array([one, sizes["tokens"]])


def key_names(kind: str) -> tuple[str, ...]:
    """What tells series of a kind apart."""
    return (*LABELS[kind], *APART.get(kind, ()))


def groups_of(rows: Rows) -> dict[tuple[str | float, ...], Index]:
    """Places of each series' rows, by the values of `key_names`."""
    columns: list[npt.NDArray[Any]] = [rows.labels[name] for name in LABELS[rows.kind]]
    columns += [rows.sizes[name] for name in APART.get(rows.kind, ())]
    codes = np.zeros(len(rows), dtype=np.int64)
    for column in columns:
        words, code = np.unique(column, return_inverse=True)
        codes = codes * len(words) + code
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    keys = [tuple(column[place].item() for column in columns) for place in first]
    return {key: np.flatnonzero(which == number) for number, key in enumerate(keys)}


def chosen(series: Sequence[Series], kind: str, wanted: Mapping[str, str | float]) -> Series | None:
    """The series that is nearest to what is wanted; None where nothing of that format was measured.

    A format has to be the same (fp16 and bf16 are), a window too; then the kernel, the head's width, the most rows.
    """
    near = [one for one in series if one.kind == kind and _fits(one, wanted)]
    return min(near, key=lambda one: _distance(one, wanted), default=None)


_HARD = ("dtype", "kv_dtype", "layer", "model", "hardware", "parallel")


def _fits(one: Series, wanted: Mapping[str, str | float]) -> bool:
    if (float(one.labels.get("window", 0.0)) > 0) != (float(wanted.get("window", 0.0)) > 0):
        return False
    return all(_same(one.labels.get(name, ""), wanted[name]) for name in _HARD if name in wanted)


def _same(one: str | float, other: str | float) -> bool:
    half = {"fp16", "bf16"}
    return one == other or (one in half and other in half)


def _distance(one: Series, wanted: Mapping[str, str | float]) -> tuple[float, ...]:
    def apart(name: str) -> float:
        mine, theirs = float(one.labels.get(name, 0.0)), float(wanted.get(name, one.labels.get(name, 0.0)))
        return abs(float(np.log2(mine / theirs))) if mine > 0 and theirs > 0 else float(mine != theirs)

    kernel = wanted.get("kernel") or ""
    return (
        float(one.labels.get("kernel", "") != kernel),
        apart("causal"),
        apart("head_dim"),
        apart("window"),
        float(any(one.labels.get(name, "") != wanted.get(name, "") for name in _HARD if name in wanted)),
        -float(one.rows),
    )
