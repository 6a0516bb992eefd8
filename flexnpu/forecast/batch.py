# SPDX-License-Identifier: Apache-2.0
"""What one iteration runs: requests with new and cached tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexnpu.errors import InvalidValue

Floats = npt.NDArray[np.float64]


class ForecastError(InvalidValue):
    """A question that the forecast cannot answer."""


class Request(NamedTuple):
    """`copies` requests that each run `new` tokens after `cached` ones.

    A named tuple, not a dataclass: a list of tuples becomes a table at once, and plans are made of hundreds.
    """

    new: int
    cached: int = 0
    copies: int = 1


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """The requests of one iteration as columns."""

    new: Floats
    cached: Floats
    copies: Floats

    @classmethod
    def of(cls, requests: Iterable[Request] | Batch) -> Batch:
        if isinstance(requests, Batch):
            return requests
        # From one flat run of numbers; numpy takes four times as long to read rows.
        table = np.fromiter(chain.from_iterable(requests), np.float64).reshape(-1, 3)
        # min() of a small table is cheaper than comparing it; NaN fails both.
        if table.size and not (table[:, 0].min() >= 1 and table[:, 1].min() >= 0 and table[:, 2].min() >= 1):
            row = next(row for row in table if not (row[0] >= 1 and row[1] >= 0 and row[2] >= 1))
            raise ForecastError(
                f"request with new={row[0]:g}, cached={row[1]:g}, copies={row[2]:g}; "
                "new and copies must be 1 or more and cached 0 or more"
            )
        return cls(*np.ascontiguousarray(table.T))

    @property
    def tokens(self) -> float:
        return float(self.new @ self.copies)

    @property
    def sequences(self) -> float:
        return float(self.copies.sum())
