# SPDX-License-Identifier: Apache-2.0
"""What a profile says of the rows of a table: by series where they were measured, by data sheet where not."""

from __future__ import annotations

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration import predict
from flexnpu.forecast.operators import QUERIES, OperatorModel
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.tables import Rows
from flexnpu.forecast.tables.work import pairs_of, work_of
from flexnpu.hardware import Soc

# Huawei's msmodeling: part of peak compute and bandwidth, seconds per matrix product. Attention is two products.
VENDOR = (0.7, 0.6, 5e-6)


def seconds_of(rows: Rows, soc: Soc, profile: Profile | None = None) -> Floats:
    """Forecast of each row. NaN: a kind without sizes that a data sheet could answer, and without a series."""
    profile = profile or Profile.of(soc)
    found = predict(profile.series, rows, soc) if profile.series else np.full(len(rows), np.nan)
    unknown = np.isnan(found)
    if unknown.any() and rows.kind in {"gemm", "context", "generation"}:
        found[unknown] = _from_sheet(rows.take(unknown), OperatorModel(soc, profile.without_series()))
    return found


def vendor_seconds(rows: Rows, soc: Soc) -> Floats:
    """The roofline with the vendor's constants, for comparison."""
    work = work_of(rows, soc)
    if work is None:
        return np.full(len(rows), np.nan)
    compute, bandwidth, each = VENDOR
    return np.maximum(work.flops / (compute * soc.peak_flops), work.bytes / (bandwidth * soc.hbm_bandwidth)) + each


def _from_sheet(rows: Rows, model: OperatorModel) -> Floats:
    """Rows that share all sizes but the first are asked together."""
    fixed = {
        "gemm": ("n", "k"),
        "context": ("heads", "kv_heads", "head_dim"),
        "generation": ("heads", "kv_heads", "head_dim"),
    }
    columns = [rows.sizes[name] for name in fixed[rows.kind]]
    kinds, codes = np.unique(rows.labels["dtype"], return_inverse=True)
    keys, which = np.unique(np.column_stack([*columns, codes]), axis=0, return_inverse=True)
    found = np.empty(len(rows))
    pairs, seen = pairs_of(rows) if rows.kind != "gemm" else (None, None)
    for number, key in enumerate(keys):
        chosen = which.reshape(-1) == number
        sizes = {name: column[chosen] for name, column in rows.sizes.items()}
        if rows.kind == "gemm":
            cost = model.gemm(sizes["m"], int(key[0]), int(key[1]), str(kinds[int(key[2])]))
        elif rows.kind == "generation":
            assert seen is not None
            heads, kv_heads, width = (int(value) for value in key[:3])
            cost = model.generation_attention(sizes["batch"], sizes["batch"] * seen[chosen], heads, kv_heads, width)
        else:
            assert seen is not None and pairs is not None
            batch, each = sizes["batch"], seen[chosen]
            diagonal = np.where(sizes["causal"] > 0, QUERIES / 2.0, 0.0)
            whole = batch * pairs[chosen], batch * sizes["new"], batch * each
            heads, kv_heads, width = (int(value) for value in key[:3])
            cost = model.context_of(batch, *whole, heads, kv_heads, width, None, each, diagonal)
        found[chosen] = model.seconds(cost)
    return found
