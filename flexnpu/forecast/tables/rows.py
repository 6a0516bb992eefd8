# SPDX-License-Identifier: Apache-2.0
"""A measured table as columns, whatever file it came from; and what of a table is not believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from flexnpu.errors import InvalidValue
from flexnpu.forecast.batch import Floats

Names = npt.NDArray[np.str_]
Mask = npt.NDArray[np.bool_]

# Sizes of each kind of row. window is the sliding window, 0 without one; length of a generation row is every key that
# the new token sees, itself included.
SIZES: Mapping[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k"),
    "context": ("batch", "new", "cached", "heads", "kv_heads", "head_dim", "window", "causal"),
    "generation": ("batch", "length", "heads", "kv_heads", "head_dim", "window"),
    # One attention call over a part of a prompt and running requests together.
    "mixed": ("new", "cached", "sequences", "length"),
    "layer": ("tokens",),
    # A whole engine iteration of a model.
    "prefill": ("length", "batch"),
    "decode": ("batch", "length"),
}
LABELS: Mapping[str, tuple[str, ...]] = {
    "gemm": ("dtype", "kernel"),
    "context": ("dtype", "kv_dtype", "kernel"),
    "generation": ("dtype", "kv_dtype", "kernel"),
    "mixed": ("dtype",),
    "layer": ("layer",),
    "prefill": ("model", "hardware", "parallel"),
    "decode": ("model", "hardware", "parallel"),
}


_PLACES = 8  # that are written out


class TableError(InvalidValue):
    """A table that cannot be read, or whose rows cannot be believed."""


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Rows of one kind: sizes and labels as SIZES and LABELS name them, seconds measured. group is the user's own."""

    kind: str
    sizes: Mapping[str, Floats]
    labels: Mapping[str, Names]
    seconds: Floats
    group: Names

    def __len__(self) -> int:
        return len(self.seconds)

    def take(self, chosen: Mask | npt.NDArray[np.intp]) -> Rows:
        """Some of the rows."""
        return Rows(
            self.kind,
            {name: column[chosen] for name, column in self.sizes.items()},
            {name: column[chosen] for name, column in self.labels.items()},
            self.seconds[chosen],
            self.group[chosen],
        )

    def joined(self, other: Rows) -> Rows:
        """Rows of both, which are of one kind."""
        return Rows(
            self.kind,
            {name: np.concatenate([column, other.sizes[name]]) for name, column in self.sizes.items()},
            {name: np.concatenate([column, other.labels[name]]) for name, column in self.labels.items()},
            np.concatenate([self.seconds, other.seconds]),
            np.concatenate([self.group, other.group]),
        )


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rows that are not believed: how many, by which rule, the first of them, and where in the file, from 1."""

    rule: str
    count: int
    example: str
    places: tuple[int, ...] = ()  # empty where tables were joined

    def __str__(self) -> str:
        where = ", ".join(map(str, self.places[:_PLACES])) + (", ..." if len(self.places) > _PLACES else "")
        first = "; ".join(filter(None, [f"row {where}" if where else "", f"first: {self.example}"]))
        return f"{self.count} rows rejected: {self.rule} ({first})"


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of a file or folder. facts are what it says of itself: device, model, dtype, source."""

    format: str
    parts: Mapping[str, Rows]
    facts: Mapping[str, object] = field(default_factory=dict)
    rejected: tuple[Rejection, ...] = ()

    def __iter__(self) -> Iterator[Rows]:
        return iter(self.parts.values())

    @property
    def rows(self) -> int:
        return sum(len(part) for part in self)

    def joined(self, other: Table) -> Table:
        """Both tables as one; facts of the first win."""
        parts = dict(self.parts)
        for kind, rows in other.parts.items():
            parts[kind] = parts[kind].joined(rows) if kind in parts else rows
        name = self.format if self.format == other.format else f"{self.format}+{other.format}"
        # Places in one file are not places in two.
        facts = {key: value for key, value in {**other.facts, **self.facts}.items() if key != "order"}
        rejected = [replace(each, places=()) for each in (*self.rejected, *other.rejected)]
        return Table(name, parts, facts, tuple(rejected))


def rows_of(
    kind: str,
    sizes: Mapping[str, Sequence[float] | Floats],
    labels: Mapping[str, Sequence[str] | Names],
    seconds: Sequence[float] | Floats,
    group: Sequence[str] | Names | None = None,
) -> Rows:
    """Rows from columns; a label that is missing is the empty word."""
    count = len(seconds)
    blank = np.full(count, "", dtype=np.str_)
    return Rows(
        kind,
        {name: np.asarray(sizes[name], dtype=np.float64) for name in SIZES[kind]},
        {name: np.asarray(labels[name], dtype=np.str_) if name in labels else blank for name in LABELS[kind]},
        np.asarray(seconds, dtype=np.float64),
        blank if group is None else np.asarray(group, dtype=np.str_),
    )
