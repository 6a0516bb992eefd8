# SPDX-License-Identifier: Apache-2.0
"""A file as columns of text or numbers, before anyone has asked what it means."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.tables.rows import Names, TableError

MOST_ROWS = 5_000_000  # more is no table of operators


class Columns:
    """Columns by name, all of one length. Empty fields of numbers are NaN."""

    def __init__(self, columns: Mapping[str, Sequence[object]], source: str) -> None:
        self._columns, self.source = dict(columns), source
        self.length = len(next(iter(columns.values()), ()))

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._columns)

    def numbers(self, *names: str, default: float | None = None) -> Floats:
        """The first of these columns that is there, as numbers; text that is none is NaN."""
        for name in names:
            if name in self._columns:
                return _numbers(self._columns[name])
        if default is None:
            raise TableError(f"{self.source}: column {names[0]} is missing; it has {', '.join(sorted(self._columns))}")
        return np.full(self.length, default)

    def words(self, *names: str, default: str = "") -> Names:
        """The first of these columns that is there, as text."""
        for name in names:
            if name in self._columns:
                return np.array(
                    ["" if value is None else str(value).strip() for value in self._columns[name]], dtype=np.str_
                )
        return np.full(self.length, default)  # numpy's own width: dtype=np.str_ would be one letter


def read_columns(file: Path) -> Columns:
    """A parquet file by its first bytes, text with commas otherwise."""
    try:
        with file.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise TableError(f"{file}: cannot be read ({error.strerror}); give a table's file or folder") from error
    return _parquet(file) if magic == b"PAR1" else _text(file)


def _parquet(file: Path) -> Columns:
    try:
        import pyarrow  # noqa: PLC0415 - only where a parquet is read
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise TableError(f"{file}: reading parquet needs pyarrow; run: pip install 'flexnpu[tables]'") from error
    try:
        table = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise TableError(f"{file}: not readable as parquet ({str(error).splitlines()[0]}); fetch it again") from error
    return Columns({name: table[name].to_pylist() for name in table.schema.names}, str(file))


def _text(file: Path) -> Columns:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            rows = _rows(reader, len(header), file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{file}: not a table of text with commas ({error}); give a .csv or .parquet") from error
    if not header or not rows:
        raise TableError(f"{file}: has {len(rows)} rows; a table has a line of column names and at least one row")
    return Columns(dict(zip(header, zip(*rows, strict=True), strict=True)), str(file))


def _rows(reader: object, width: int, file: Path) -> list[list[str]]:
    rows: list[list[str]] = []
    for row in reader:  # type: ignore[attr-defined]
        if not row:
            continue
        if len(row) != width:
            # A line cut off or with a comma too many: kept, so that it is counted among the rows that cannot be true.
            row = ["nan"] * width  # noqa: PLW2901
        rows.append(row)
        if len(rows) > MOST_ROWS:
            raise TableError(f"{file}: more than {MOST_ROWS} rows; give a table of measured operators")
    return rows


def _numbers(values: Sequence[object]) -> Floats:
    try:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
