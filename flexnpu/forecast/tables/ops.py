# SPDX-License-Identifier: Apache-2.0
"""Our own table of operators, one per row, in microseconds.

Columns: set, op (gemm or attention), m, n, k or batch, q, kv, heads, kv_heads, head_dim, causal, dtype, measured_us;
kernel, kv_dtype and window where they are known. Attention with q = 1 makes one token per sequence; with more it runs
the last q of kv tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.tables.columns import Columns
from flexnpu.forecast.tables.dtypes import known_dtype
from flexnpu.forecast.tables.rows import Mask, Names, Rejection, Rows, Table, TableError, rows_of

KEYS = {"op", "measured_us"}
OPERATORS = ("gemm", "attention")


def read(columns: Columns) -> Table:
    """Rows by kind. The order within the file is kept in facts["order"], so that answers can go back to their rows."""
    operators = np.char.lower(columns.words("op"))
    known = np.isin(operators, OPERATORS)
    if not known.any():
        raise TableError(f"{columns.source}: op is {str(operators[0])!r}; it must be gemm or attention")
    query = columns.numbers("q", default=np.nan)
    parts = {
        "gemm": (operators == "gemm", _gemm),
        "context": ((operators == "attention") & ~(query == 1), _context),
        "generation": ((operators == "attention") & (query == 1), _generation),
    }
    tables: dict[str, Rows] = {}
    order: dict[str, list[int]] = {}
    for kind, (chosen, make) in parts.items():
        if chosen.any():
            tables[kind] = make(columns, chosen)
            order[kind] = np.flatnonzero(chosen).tolist()
    return Table("ops", tables, {"order": order, "rows": columns.length}, tuple(_unknown(operators, known)))


def _unknown(operators: Names, known: Mask) -> Iterator[Rejection]:
    """Rows of other operators, and lines that were cut off or have a field too many (read as "nan" throughout)."""
    for rule, chosen in (
        ("the line has too few or too many fields", operators == "nan"),
        ("op must be gemm or attention", ~known & (operators != "nan")),
    ):
        places = np.flatnonzero(chosen).tolist()
        if places:
            example = f"op {str(operators[places[0]])!r}"
            yield Rejection(rule, len(places), example, tuple(place + 1 for place in places))


def _gemm(columns: Columns, chosen: Mask) -> Rows:
    sizes = {name: columns.numbers(name)[chosen] for name in "mnk"}
    return rows_of("gemm", sizes, _labels(columns, chosen), _seconds(columns, chosen), _sets(columns, chosen))


def _context(columns: Columns, chosen: Mask) -> Rows:
    sizes = _heads(columns, chosen)
    new, length = columns.numbers("q")[chosen], columns.numbers("kv")[chosen]
    sizes["new"], sizes["causal"] = new, _truths(columns, chosen)
    # Without a mask the queries need not be part of the keys.
    with np.errstate(invalid="ignore"):
        sizes["cached"] = np.where(sizes["causal"] > 0, length - new, np.maximum(length - new, 1.0 - new))
    return rows_of("context", sizes, _labels(columns, chosen), _seconds(columns, chosen), _sets(columns, chosen))


def _generation(columns: Columns, chosen: Mask) -> Rows:
    sizes = _heads(columns, chosen)
    sizes["length"] = columns.numbers("kv")[chosen]
    return rows_of("generation", sizes, _labels(columns, chosen), _seconds(columns, chosen), _sets(columns, chosen))


def _heads(columns: Columns, chosen: Mask) -> dict[str, Floats]:
    heads = columns.numbers("heads")[chosen]
    own = columns.numbers("kv_heads", default=np.nan)[chosen]
    return {
        "batch": columns.numbers("batch", default=1.0)[chosen],
        "heads": heads,
        # Left out, or 0 as some tables write it: as many as heads.
        "kv_heads": np.where(np.isfinite(own) & (own != 0), own, heads),
        "head_dim": columns.numbers("head_dim", default=128.0)[chosen],
        "window": np.nan_to_num(columns.numbers("window", "window_size", default=0.0)[chosen]),
    }


def _labels(columns: Columns, chosen: Mask) -> dict[str, Names]:
    dtype = _dtypes(columns.words("dtype")[chosen])
    own = columns.words("kv_dtype", "kv_cache_dtype")[chosen]
    return {
        "dtype": dtype,
        "kv_dtype": np.where(own == "", dtype, _dtypes(own)),
        "kernel": columns.words("kernel", "kernel_source")[chosen],
    }


def _dtypes(names: Names) -> Names:
    return np.array([known_dtype(str(name)) for name in names], dtype=np.str_)


def _truths(columns: Columns, chosen: Mask) -> Floats:
    words = np.char.lower(columns.words("causal", default="1")[chosen])
    return np.where(np.isin(words, ["0", "false", "no", "0.0"]), 0.0, 1.0)


def _seconds(columns: Columns, chosen: Mask) -> Floats:
    return columns.numbers("measured_us")[chosen] * 1e-6


def _sets(columns: Columns, chosen: Mask) -> Names:
    return columns.words("set", default="all")[chosen]
