# SPDX-License-Identifier: Apache-2.0
"""Rows in columns, of which keys choose order and part. No terminal: keys come in, a table goes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from flexnpu.cli.output import printable

_Row = TypeVar("_Row")
_MOST_FILTER = 80  # characters
_GAP = 2  # spaces between columns


@dataclass(frozen=True)
class Column(Generic[_Row]):
    """key: pressed to sort by it, and again for the other direction. order: what is compared; text without it.
    rising: whether the least comes first at the first press."""

    title: str
    key: str
    text: Callable[[_Row], str]
    order: Callable[[_Row], Any] | None = None
    rising: bool = False

    def place(self, row: _Row) -> Any:  # noqa: ANN401 - whatever can be compared with its like
        return self.order(row) if self.order else self.text(row)


class Listing(Generic[_Row]):
    """name: of a row, which the filter looks in, whatever the case."""

    def __init__(self, columns: Sequence[Column[_Row]], name: Callable[[_Row], str], sort: str) -> None:
        self._columns, self._name = columns, name
        self._at = next(at for at, column in enumerate(columns) if column.key == sort)
        self._rising = columns[self._at].rising
        self._first = 0  # of the rows, that is shown
        self._page = 1
        self.filter = ""
        self.is_typing = False

    def press(self, key: str) -> bool:
        """Whether the key means something here."""
        if self.is_typing:
            return self._type(key)
        steps = {"up": -1, "down": 1, "pageup": -self._page, "pagedown": self._page, "home": -(10**9), "end": 10**9}
        if key in steps:
            self._first = max(0, self._first + steps[key])
        elif key in ("<", "left", ">", "right"):
            self._sort((self._at + (1 if key in (">", "right") else -1)) % len(self._columns))
        elif key == "/":
            self.is_typing = True
        elif key == "escape":
            self.filter = ""
        else:
            at = next((at for at, column in enumerate(self._columns) if column.key == key), None)
            if at is None:
                return False
            self._sort(at)
        return True

    def _type(self, key: str) -> bool:
        if key in ("enter", "escape"):
            self.is_typing = False
            self.filter = "" if key == "escape" else self.filter
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter = (self.filter + key)[:_MOST_FILTER]
        self._first = 0
        return True

    def _sort(self, at: int) -> None:
        self._rising = not self._rising if at == self._at else self._columns[at].rising
        self._at = at

    def ordered(self, rows: Sequence[_Row]) -> list[_Row]:
        """Those that the filter lets through, in order; rows without a value come last."""
        kept = [row for row in rows if self.filter.casefold() in self._name(row).casefold()]
        kept.sort(key=self._name)
        column = self._columns[self._at]
        known = [row for row in kept if column.place(row) is not None]
        known.sort(key=column.place, reverse=not self._rising)
        return [*known, *(row for row in kept if column.place(row) is None)]

    def draw(self, rows: Sequence[_Row], lines: int | None = None, width: int | None = None) -> Table:
        """In so many lines, one of them the head; as many columns, from the left, as there is width for."""
        ordered = self.ordered(rows)
        self._page = len(ordered) if lines is None else max(1, lines - 1)
        self._first = max(0, min(self._first, len(ordered) - self._page))
        made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
        cells: list[list[str]] = []
        for at, column in enumerate(self._columns):
            title = f"{column.title}{self._arrow}" if at == self._at else column.title
            texts = [printable(column.text(row)) for row in ordered[self._first : self._first + self._page]]
            widest = max(map(cell_len, (title, *texts)))
            if width is not None and widest > width:
                break
            width = None if width is None else width - widest - _GAP
            made.add_column(title, justify="left" if column.order is None else "right", no_wrap=True)
            cells.append(texts)
        for row in zip(*cells, strict=True):
            made.add_row(*map(Text, row))
        return made

    @property
    def _arrow(self) -> str:
        return "▲" if self._rising else "▼"

    @property
    def keys(self) -> str:
        """What to press, in words."""
        return ", ".join(f"{column.key} {column.title}" for column in self._columns)
