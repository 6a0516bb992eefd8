# SPDX-License-Identifier: Apache-2.0
"""What held over time (queue lengths, cores, memory), in a fixed number of buckets whatever the length of the run.

A value holds from its sample until the next. Each bucket keeps the mean over its time and the maximum; when the run
grows beyond the last bucket, neighbours are merged and all are twice as wide. How often samples come does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

BUCKETS = 512  # always even
FIRST_WIDTH = 1 / 64  # seconds; a power of two, so that doubling and adding stay exact


class Series:
    """Several columns over one time axis that begins at 0 s."""

    __slots__ = ("_at", "_greatest", "_integrals", "_values", "columns", "width")

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.width = FIRST_WIDTH
        self._at = 0.0
        self._values: Sequence[float] = (0.0,) * len(self.columns)
        self._integrals = [[0.0] * BUCKETS for _ in self.columns]
        self._greatest = [[0.0] * BUCKETS for _ in self.columns]

    def sample(self, at: float, values: Sequence[float]) -> None:
        """The columns have these values from `at` on. A time before the last sample's counts as the last sample's."""
        self.advance(at)
        self._values = values

    def advance(self, at: float) -> None:
        """What was sampled last has held until `at`."""
        start = self._at
        if at <= start:
            return
        while at > self.width * BUCKETS:
            self._merge()
        first, last = int(start / self.width), min(int(at / self.width), BUCKETS - 1)
        for index in range(first, last + 1):
            low = start if index == first else index * self.width
            high = at if index == last else (index + 1) * self.width
            self._hold(index, high - low)
        self._at = at

    def _hold(self, index: int, seconds: float) -> None:
        if seconds <= 0.0:
            return
        for value, integrals, greatest in zip(self._values, self._integrals, self._greatest, strict=True):
            integrals[index] += value * seconds
            greatest[index] = max(greatest[index], value)

    def _merge(self) -> None:
        half = [0.0] * (BUCKETS // 2)
        for integrals in self._integrals:
            integrals[:] = [a + b for a, b in zip(integrals[::2], integrals[1::2], strict=True)] + half
        for greatest in self._greatest:
            greatest[:] = [max(a, b) for a, b in zip(greatest[::2], greatest[1::2], strict=True)] + half
        self.width *= 2

    def table(self) -> dict[str, list[float]]:
        """`seconds` (where each bucket begins), and per column its means, and its maxima under `COLUMN_max`."""
        used = min(-int(-self._at // self.width), BUCKETS)
        table: dict[str, list[float]] = {"seconds": [index * self.width for index in range(used)]}
        spans = [min(self.width, self._at - index * self.width) for index in range(used)]
        for column, integrals, greatest in zip(self.columns, self._integrals, self._greatest, strict=True):
            table[column] = [total / span for total, span in zip(integrals, spans, strict=False)]
            table[f"{column}_max"] = greatest[:used]
        return table

    def means(self) -> dict[str, float]:
        """The columns' means over the whole time, 0 where no time has passed."""
        return {
            column: sum(integrals) / self._at if self._at > 0 else 0.0
            for column, integrals in zip(self.columns, self._integrals, strict=True)
        }
