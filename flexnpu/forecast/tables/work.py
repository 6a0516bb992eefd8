# SPDX-License-Identifier: Apache-2.0
"""Operations and bytes of a row, from its sizes: what a roofline and the physical limit are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.tables.dtypes import ELEMENT_BYTES, MATRIX_RATE
from flexnpu.forecast.tables.rows import Names, Rows
from flexnpu.hardware import Soc


class Work(NamedTuple):
    """flops in 16-bit equivalents: what runs at twice the rate counts half."""

    flops: Floats
    bytes: Floats


def work_of(rows: Rows, soc: Soc | None = None) -> Work | None:
    """None: the kind has no sizes that a roofline could use (whole iterations, single layers).

    soc: at what rate formats are multiplied; without it, as on most devices that have units for them.
    """
    rates = _rates(soc)
    if rows.kind == "gemm":
        m, n, k = (rows.sizes[name] for name in "mnk")
        size = _look(ELEMENT_BYTES, rows.labels["dtype"])
        return Work(2.0 * m * n * k / _look(rates, rows.labels["dtype"]), size * (m * k + k * n) + 2.0 * m * n)
    if rows.kind in {"context", "generation"}:
        return _attention(rows, rates)
    return None


def pairs_of(rows: Rows) -> tuple[Floats, Floats]:
    """Pairs of a query and a key that it sees, and keys that are read, of one sequence of each attention row."""
    window = np.where(rows.sizes["window"] > 0, rows.sizes["window"], np.inf)
    if rows.kind == "generation":
        seen = np.minimum(rows.sizes["length"], window)
        return seen, seen
    new, cached = rows.sizes["new"], rows.sizes["cached"]
    length = new + cached
    # Query i sees min(cached + i, window) keys: a trapezium, and a rectangle once the window is full.
    rising = np.clip(window - cached, 0.0, new)
    full = np.where(np.isfinite(window), window, 0.0) * (new - rising)
    causal = rising * cached + rising * (rising + 1.0) / 2.0 + full
    pairs = np.where(rows.sizes["causal"] > 0, causal, new * length)
    return pairs, np.minimum(length, window - 1.0 + new)


def _rates(soc: Soc | None) -> Mapping[str, float]:
    if soc is None:
        return MATRIX_RATE
    # Where a device widens fp8, a kernel may still be quicker than its 16-bit one; no limit is made of that.
    fp8 = max(MATRIX_RATE["fp8"], soc.fp8_rate)
    return {**MATRIX_RATE, "fp32": soc.fp32_rate, "int8": soc.int8_rate, "fp8": fp8, "fp8_block": fp8}


def _attention(rows: Rows, rates: Mapping[str, float]) -> Work:
    pairs, seen = pairs_of(rows)
    batch, heads, kv_heads, width = (rows.sizes[name] for name in ("batch", "heads", "kv_heads", "head_dim"))
    new = rows.sizes["new"] if rows.kind == "context" else 1.0
    size = _look(ELEMENT_BYTES, rows.labels["dtype"])
    # A prompt's own keys come in the activations' format; a running request's from the cache.
    kept = _look(ELEMENT_BYTES, rows.labels["kv_dtype"]) if rows.kind == "generation" else size
    # An 8-bit cache may let the product run in 8 bits.
    rate = np.maximum(_look(rates, rows.labels["dtype"]), _look(rates, rows.labels["kv_dtype"]))
    return Work(
        4.0 * batch * heads * width * pairs / rate,
        2.0 * batch * new * heads * width * size + 2.0 * batch * seen * kv_heads * width * kept,
    )


def _look(table: Mapping[str, float], names: Names) -> Floats:
    kinds, where = np.unique(names, return_inverse=True)
    values = [table.get(str(kind), table["bf16"]) for kind in kinds]
    return np.array(values, dtype=np.float64)[where]
