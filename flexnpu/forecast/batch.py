# SPDX-License-Identifier: Apache-2.0
"""What one iteration runs: requests with new and cached tokens."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
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

    A named tuple, not a dataclass: a list of tuples is read at once, and plans are made of hundreds.
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
        new, cached, copies = _columns(rows)
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


def _columns(rows: tuple[Request, ...]) -> Floats:
    """By (field, row): numpy takes four times as long to read rows by itself."""
    fields = list(chain.from_iterable(rows))
    try:
        # Whole numbers from 0 on, as requests have them, are read in half of the time.
        read: npt.NDArray[np.uint64] | Floats = np.frombuffer(array("Q", fields), np.uint64)
    except (TypeError, OverflowError):
        read = np.array(fields, dtype=np.float64)
    return read.reshape(-1, len(Request._fields)).T.astype(np.float64, order="C")


def _least(values: Floats) -> float:
    return float(np.minimum.reduce(values))
