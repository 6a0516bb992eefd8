# SPDX-License-Identifier: Apache-2.0
"""A profile from what a device said of itself: times of a few operators over core counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration import fit_rows
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.tables import Rows, TableError, rows_of
from flexnpu.hardware import Soc


def profile_of(answer: Mapping[str, object], soc: Soc) -> Profile:
    """Curves over cores from the operators that compute and that stream, surfaces from all of them on all cores.

    answer: cores (counts, the last is all), rows (op, sizes, seconds by count), as `calibration_live` prints it.
    """
    cores, rows = answer.get("cores"), answer.get("rows")
    if not isinstance(cores, list) or not isinstance(rows, list) or not rows:
        raise TableError("the device's answer has no rows; measure again")
    share = np.array(cores, dtype=np.float64) / soc.cube_cores
    whole = {kind: _rows(kind, [row for row in rows if row["op"] == kind]) for kind in ("gemm", "generation")}
    series = tuple(one for part in whole.values() if len(part) for one in fit_rows(part, soc, scored=False))
    base = Profile.of(soc)
    return replace(
        base,
        compute_bend=_bend(share, [row["seconds"] for row in rows if row["bound"] == "compute"], base.compute_bend),
        bandwidth_bend=_bend(share, [row["seconds"] for row in rows if row["bound"] == "memory"], base.bandwidth_bend),
        # What cutting costs on all cores is in the rows; on some of them its steps would be others, and times fall.
        tile=1,
        series=series,
        facts={
            "soc": soc.name,
            "modelled": bool(answer.get("modelled")),
            "cores": cores,
            "curves": {row["name"]: row["seconds"] for row in rows},
        },
    )


def _rows(kind: str, rows: Sequence[Mapping[str, object]]) -> Rows:
    names = ("m", "n", "k") if kind == "gemm" else ("batch", "length", "heads", "kv_heads", "head_dim", "window")
    sizes = {name: [float(row["sizes"].get(name, 0.0)) for row in rows] for name in names}  # type: ignore[attr-defined]
    labels = {"dtype": ["bf16"] * len(rows), "kv_dtype": ["bf16"] * len(rows)}
    return rows_of(kind, sizes, labels, [row["seconds"][-1] for row in rows])  # type: ignore[index]


def _bend(share: Floats, curves: Sequence[Sequence[float]], otherwise: float) -> float:
    """The bend of `saturation` that is nearest to how rates rise with cores, from 0 to 1."""
    rates = [times[-1] / np.array(times, dtype=np.float64) for times in curves]
    if not rates or len(share) < 2:
        return otherwise
    # rate = x + b x (1 - x): least squares for b over all curves.
    straight, bent = share, share * (1.0 - share)
    over = sum(float(bent @ (rate - straight)) for rate in rates)
    return float(np.clip(over / (len(rates) * float(bent @ bent)), 0.0, 1.0))
