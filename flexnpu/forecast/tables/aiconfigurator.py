# SPDX-License-Identifier: Apache-2.0
"""Tables of ai-dynamo/aiconfigurator: a GEMM or an attention call per row, milliseconds, parquet or text.

What the columns mean (its collectors, Apache-2.0): a context row runs isl new tokens per sequence with none cached; a
generation row makes one token after step + isl - 1 cached ones, and isl is 1, so it sees step + 1 keys. 0 key-value
heads are as many as heads; window_size 0 is no window.
"""

from __future__ import annotations

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.tables.columns import Columns
from flexnpu.forecast.tables.dtypes import known_dtype
from flexnpu.forecast.tables.rows import Mask, Names, Rows, Table, TableError, rows_of

GEMM_KEYS = {"m", "n", "k", "latency"}
ATTENTION_KEYS = {"batch_size", "isl", "num_heads", "head_dim", "step", "latency"}


def read(columns: Columns) -> Table:
    """Rows of a gemm_perf, context_attention_perf or generation_attention_perf table."""
    device = columns.words("device")
    facts = {"device": str(device[0]), "source": columns.source} if device.size and device[0] else {}
    if columns.names >= GEMM_KEYS:
        return Table("aiconfigurator", {"gemm": _gemm(columns)}, facts)
    generating = _generating(columns)
    parts = {}
    if (~generating).any():
        parts["context"] = _context(columns, ~generating)
    if generating.any():
        parts["generation"] = _generation(columns, generating)
    return Table("aiconfigurator", parts, facts)


def _generating(columns: Columns) -> Mask:
    """Told by op_name where that is there, else by one new token per row."""
    names = columns.words("op_name")
    found: Mask = np.char.find(names, "generation") >= 0
    named = found | (np.char.find(names, "context") >= 0)
    # A line that was cut off has neither a name nor sizes, and will not be believed.
    if not (named | (names == "nan")).all() or not named.any():
        if any(names):
            wrong = str(names[~named][0])
            raise TableError(f"{columns.source}: op_name {wrong}; known are context_attention and generation_attention")
        found = columns.numbers("isl") == 1
    return found


def _gemm(columns: Columns) -> Rows:
    labels = {"dtype": _dtypes(columns, "gemm_dtype"), "kernel": columns.words("kernel_source")}
    return rows_of("gemm", {name: columns.numbers(name) for name in "mnk"}, labels, _seconds(columns))


def _context(columns: Columns, chosen: Mask) -> Rows:
    sizes = _heads(columns)
    sizes["new"], sizes["cached"] = columns.numbers("isl"), columns.numbers("step")
    sizes["causal"] = np.ones(columns.length)
    return rows_of("context", sizes, _labels(columns), _seconds(columns)).take(chosen)


def _generation(columns: Columns, chosen: Mask) -> Rows:
    sizes = _heads(columns)
    sizes["length"] = columns.numbers("step") + columns.numbers("isl")
    return rows_of("generation", sizes, _labels(columns), _seconds(columns)).take(chosen)


def _heads(columns: Columns) -> dict[str, Floats]:
    heads, own = columns.numbers("num_heads"), columns.numbers("num_key_value_heads", default=0.0)
    return {
        "batch": columns.numbers("batch_size"),
        "heads": heads,
        "kv_heads": np.where(own == 0, heads, own),
        "head_dim": columns.numbers("head_dim"),
        "window": np.nan_to_num(columns.numbers("window_size", default=0.0)),
    }


def _labels(columns: Columns) -> dict[str, Names]:
    dtype = _dtypes(columns, "attn_dtype")
    kept = columns.words("kv_cache_dtype")
    return {
        "dtype": dtype,
        "kv_dtype": np.where(kept == "", dtype, _dtypes(columns, "kv_cache_dtype")),
        "kernel": columns.words("kernel_source"),
    }


def _dtypes(columns: Columns, name: str) -> Names:
    return np.array([known_dtype(str(word)) for word in columns.words(name)], dtype=np.str_)


def _seconds(columns: Columns) -> Floats:
    return columns.numbers("latency") * 1e-3
