# SPDX-License-Identifier: Apache-2.0
"""Tables of whole iterations: splitwise-sim's perf_model.csv and DistServe's fitted coefficients.

splitwise (MIT): prompt_time and token_time in ms of a model on tensor_parallel devices; a token's time is the mean
over token_size tokens after the prompt. DistServe (Apache-2.0): prefill takes a + b T + c sum(l^2) ms for T tokens in
prompts of l, decode a + b C + c N for C tokens of context and N requests, with other constants from a batch size on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flexnpu.forecast.tables.columns import Columns
from flexnpu.forecast.tables.rows import Rows, Table, TableError, rows_of

SPLITWISE_KEYS = {"prompt_size", "batch_size", "token_size", "prompt_time", "token_time", "model", "hardware"}
_PROMPTS = (32, 64, 128, 256, 512, 1024, 2048)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONTEXTS = (64, 128, 256, 512, 1024, 2048)


def read_splitwise(columns: Columns) -> Table:
    """Prefill and decode iterations by model, hardware and tensor-parallel degree."""
    prompt, batch = columns.numbers("prompt_size"), columns.numbers("batch_size")
    labels = {
        "model": columns.words("model"),
        "hardware": columns.words("hardware"),
        "parallel": columns.words("tensor_parallel"),
    }
    prefill = {"length": prompt, "batch": batch}
    decode = {"batch": batch, "length": prompt + (columns.numbers("token_size") + 1.0) / 2.0}
    return Table(
        "splitwise",
        {
            "prefill": rows_of("prefill", prefill, labels, columns.numbers("prompt_time") * 1e-3),
            "decode": rows_of("decode", decode, labels, columns.numbers("token_time") * 1e-3),
        },
        {"source": columns.source},
    )


def read_distserve(file: Path) -> Table:
    """Rows that the coefficients give on a grid: they are fitted, not measured, and stay what they are."""
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TableError(f"{file}: not readable as JSON ({error}); give a DistServe profile") from error
    prefill: list[tuple[Any, ...]] = []
    decode: list[tuple[Any, ...]] = []
    for model, degree, constants in _models(raw, file):
        prefill.extend((model, degree, *row) for row in _prefill(constants, file))
        decode.extend((model, degree, *row) for row in _decode(constants, file))
    parts = {
        "prefill": _rows("prefill", ("length", "batch"), prefill),
        "decode": _rows("decode", ("batch", "length"), decode),
    }
    return Table("distserve", parts, {"source": str(file), "fitted": True})


def _models(raw: object, file: Path) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    if not isinstance(raw, dict):
        raise TableError(f"{file}: holds {type(raw).__name__}; a DistServe profile maps models to degrees")
    for model, degrees in raw.items():
        if not isinstance(degrees, dict):
            raise TableError(f"{file}: {model} holds {type(degrees).__name__}; it must map degrees to coefficients")
        for degree, constants in degrees.items():
            if not isinstance(constants, dict):
                raise TableError(f"{file}: {model} {degree} holds {type(constants).__name__}; it must be coefficients")
            yield str(model), str(degree), constants


def _three(constants: Mapping[str, object], name: str, file: Path) -> tuple[float, float, float]:
    value = constants.get(name)
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(each, int | float) for each in value):
        raise TableError(f"{file}: {name} is {value!r}; it must be three numbers")
    return float(value[0]), float(value[1]), float(value[2])


def _prefill(constants: Mapping[str, object], file: Path) -> Iterator[tuple[float, float, float]]:
    first, linear, square = _three(constants, "prefill", file)
    for length in _PROMPTS:
        for batch in (1, 2, 4, 8):
            yield length, batch, first + linear * length * batch + square * length**2 * batch


def _decode(constants: Mapping[str, object], file: Path) -> Iterator[tuple[float, float, float]]:
    small, large = _three(constants, "decoding_smallbs", file), _three(constants, "decoding_largebs", file)
    limit = constants.get("decoding_large_small_bs_threshold", 0)
    for batch in _BATCHES:
        first, context, request = small if batch < float(str(limit)) else large
        for length in _CONTEXTS:
            yield batch, length, first + context * batch * length + request * batch


def _rows(kind: str, names: tuple[str, str], rows: list[tuple[str, str, float, float, float]]) -> Rows:
    columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
    labels = {"model": np.array(columns[0], dtype=np.str_), "parallel": np.array(columns[1], dtype=np.str_)}
    sizes = {names[0]: np.array(columns[2], dtype=np.float64), names[1]: np.array(columns[3], dtype=np.float64)}
    return rows_of(kind, sizes, labels, np.array(columns[4], dtype=np.float64) * 1e-3)
