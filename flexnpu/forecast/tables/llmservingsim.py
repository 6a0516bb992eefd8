# SPDX-License-Identifier: Apache-2.0
"""Profiles of casys-kaist/LLMServingSim: a folder per device and model, microseconds.

tp1_dense.csv: a layer's time by tokens; tp1_per_sequence.csv: by sequences (lm_head, sampler); tp1_attention.csv: one
attention call over a part of a prompt (prefill_chunk tokens after kv_prefill) together with n_decode running requests
of kv_decode tokens each, counted before the new one; meta.yaml: the model, the device and the engine's limits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from flexnpu.forecast.tables.columns import Columns, read_columns
from flexnpu.forecast.tables.dtypes import known_dtype
from flexnpu.forecast.tables.rows import Rows, Table, TableError, rows_of

DENSE_KEYS = {"layer", "tokens", "time_us"}
SEQUENCE_KEYS = {"layer", "sequences", "time_us"}
ATTENTION_KEYS = {"prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"}


def read(columns: Columns) -> Table:
    """Rows of one of the files."""
    if columns.names >= ATTENTION_KEYS:
        return Table("llmservingsim", {"mixed": _mixed(columns)}, {"source": columns.source})
    counted = "tokens" if "tokens" in columns else "sequences"
    labels = {"layer": columns.words("layer")}
    rows = rows_of("layer", {"tokens": columns.numbers(counted)}, labels, columns.numbers("time_us") * 1e-6)
    return Table("llmservingsim", {"layer": rows}, {"source": columns.source, "counted": {counted: True}})


def _mixed(columns: Columns) -> Rows:
    length = columns.numbers("kv_decode")
    running = columns.numbers("n_decode")
    sizes = {
        "new": columns.numbers("prefill_chunk"),
        "cached": columns.numbers("kv_prefill"),
        "sequences": running,
        "length": np.where(running > 0, length, 0.0),
    }
    return rows_of("mixed", sizes, {}, columns.numbers("time_us") * 1e-6)


def facts_of(folder: Path) -> dict[str, object]:
    """What meta.yaml says, where there is one: device, model, dtype, sizes."""
    file = folder / "meta.yaml"
    if not file.is_file():
        return {}
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TableError(f"{file}: not readable as YAML ({str(error).splitlines()[0]}); correct the file") from error
    if not isinstance(raw, dict):
        raise TableError(f"{file}: holds {type(raw).__name__}; it must be a mapping")
    engine = raw.get("engine_effective")
    sizes = engine.get("hf_overrides") if isinstance(engine, dict) else None
    return {
        "device": str(raw.get("hardware") or raw.get("gpu") or ""),
        "model": str(raw.get("model", "")),
        "dtype": known_dtype(str(raw.get("variant", ""))),
        "sizes": dict(sizes) if isinstance(sizes, dict) else {},
        "source": str(folder),
    }


def parallel_of(file: Path) -> int | None:
    """Tensor-parallel degree that a file's name begins with: tp2_dense.csv."""
    head = file.name.partition("_")[0]
    return int(head[2:]) if head.startswith("tp") and head[2:].isdigit() else None


__all__ = ["ATTENTION_KEYS", "DENSE_KEYS", "SEQUENCE_KEYS", "facts_of", "parallel_of", "read", "read_columns"]
