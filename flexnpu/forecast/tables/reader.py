# SPDX-License-Identifier: Apache-2.0
"""A file or folder of measurements, whichever kind it is."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

from flexnpu.forecast.tables import aiconfigurator, iterations, llmservingsim, ops
from flexnpu.forecast.tables.columns import Columns, read_columns
from flexnpu.forecast.tables.rows import Table, TableError

KNOWN = (
    "OPS.csv (op, measured_us), aiconfigurator (m, n, k, latency or batch_size, isl, num_heads, head_dim, step, "
    "latency), "
    "LLMServingSim (layer, tokens, time_us or prefill_chunk, ...), splitwise (prompt_size, prompt_time, ...), "
    "DistServe's JSON"
)
_ENDINGS = (".parquet", ".csv", ".txt", ".json")


def read_table(path: str | Path) -> Table:
    """The table in a file, or the tables of one device in a folder, as one. Rows are as they stand: see `believed`.

    TableError: nothing there, or nothing that is known.
    """
    path = Path(path)
    if not path.exists():
        raise TableError(f"{path}: does not exist; give a table's file or folder")
    return _folder(path) if path.is_dir() else _file(path)


def _folder(folder: Path) -> Table:
    found: list[Table] = []
    for file in sorted(each for each in folder.iterdir() if each.suffix in _ENDINGS and each.is_file()):
        if (llmservingsim.parallel_of(file) or 1) != 1:
            continue  # degrees of tensor parallelism are tables of their own; a folder's is that of one device
        try:
            found.append(_file(file))
        except UnknownTableError:
            continue  # a folder holds other things beside tables
    if not found:
        raise TableError(f"{folder}: no table in it; known are {KNOWN}")
    table = reduce(Table.joined, found)
    return Table(table.format, table.parts, {**table.facts, **llmservingsim.facts_of(folder)}, table.rejected)


def _file(file: Path) -> Table:
    if file.suffix == ".json":
        return iterations.read_distserve(file)
    return _kind(read_columns(file))


class UnknownTableError(TableError):
    """Columns that no reader knows."""


def _kind(columns: Columns) -> Table:
    names = columns.names
    readers = (
        (ops.KEYS, ops.read),
        (aiconfigurator.GEMM_KEYS, aiconfigurator.read),
        (aiconfigurator.ATTENTION_KEYS, aiconfigurator.read),
        (llmservingsim.ATTENTION_KEYS, llmservingsim.read),
        (llmservingsim.DENSE_KEYS, llmservingsim.read),
        (llmservingsim.SEQUENCE_KEYS, llmservingsim.read),
        (iterations.SPLITWISE_KEYS, iterations.read_splitwise),
    )
    for keys, read in readers:
        if keys <= names:
            return read(columns)
    raise UnknownTableError(
        f"{columns.source}: columns {', '.join(sorted(names))} are no known table; known are {KNOWN}"
    )
