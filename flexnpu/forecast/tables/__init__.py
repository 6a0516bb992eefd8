# SPDX-License-Identifier: Apache-2.0
"""Measured tables: what they say, whoever wrote them. The kind is told by the columns, never by the file's name."""

from flexnpu.forecast.tables.believe import MOST_CORRUPT, believed, least_seconds
from flexnpu.forecast.tables.reader import read_table
from flexnpu.forecast.tables.rows import LABELS, SIZES, Rejection, Rows, Table, TableError, rows_of
from flexnpu.forecast.tables.work import Work, work_of

__all__ = [
    "LABELS",
    "MOST_CORRUPT",
    "SIZES",
    "Rejection",
    "Rows",
    "Table",
    "TableError",
    "Work",
    "believed",
    "least_seconds",
    "read_table",
    "rows_of",
    "work_of",
]
