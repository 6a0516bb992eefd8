# SPDX-License-Identifier: Apache-2.0
"""What one iteration runs: requests with new and cached tokens."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexnpu.errors import InvalidValue

Floats = npt.NDArray[np.float64]

_NONE: Floats = np.empty(0)


class ForecastError(InvalidValue):
    """A question that the forecast cannot answer."""


class Request(NamedTuple):
    """`copies` requests that each run `new` tokens after `cached` ones.

    A named tuple, not a dataclass: a list of tuples is transposed at once, and plans are made of hundreds.
    """

    new: int
    cached: int = 0
    copies: int = 1


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """The requests of one iteration as columns: a sequence of Request that need not be read anew."""

    new: Floats
    cached: Floats
    copies: Floats

    @classmethod
    def of(cls, requests: Iterable[Request] | Batch) -> Batch:
        if isinstance(requests, Batch):
            return requests
        rows = tuple(requests)
        if not rows:
            return cls(_NONE, _NONE, _NONE)
        # Transposed as tuples: numpy takes four times as long to read rows.
        new, cached, copies = map(_column, zip(*rows, strict=True))
        # NaN fails all three.
        if not (_least(new) >= 1 and _least(cached) >= 0 and _least(copies) >= 1):
            row = next(row for row in rows if not (row[0] >= 1 and row[1] >= 0 and row[2] >= 1))
            raise ForecastError(
                f"request with new={row[0]:g}, cached={row[1]:g}, copies={row[2]:g}; "
                "new and copies must be 1 or more and cached 0 or more"
            )
        return cls(new, cached, copies)

    def __len__(self) -> int:
        return len(self.new)

    def __getitem__(self, place: int) -> Request:
        return Request(int(self.new[place]), int(self.cached[place]), int(self.copies[place]))

    def __iter__(self) -> Iterator[Request]:
        return map(self.__getitem__, range(len(self)))

    @property
    def tokens(self) -> float:
        return float(self.new @ self.copies)

    @property
    def sequences(self) -> float:
        return float(self.copies.sum())


def _column(values: tuple[float, ...]) -> Floats:
    """The same numbers as an array."""
    first, count = values[0], len(values)
    if values.count(first) == count:  # as the copies of most, and the new tokens of who decodes
        found = np.empty(count)
        found.fill(first)
        return found
    try:
        # Whole numbers from 0 on, as requests have them, are read in half of the time.
        return np.frombuffer(array("Q", values), np.uint64).astype(np.float64)
    except (TypeError, OverflowError):
        return np.array(values, dtype=np.float64)


def _least(values: Floats) -> float:
    return values.item(values.argmin())
