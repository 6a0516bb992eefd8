# SPDX-License-Identifier: Apache-2.0
"""Seconds of the token-level operators by number of tokens, for all core counts at once, worked out when asked for.

Every count up to 2048 has its own row; beyond, 1024 rows per doubling, and straight lines between them. Lines between
points of a rising function rise, so a forecast stays monotone in tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from flexnpu.forecast.batch import Floats

_EXACT, _FINE = 2048, 10  # rows of their own; beyond, 2 ** 10 of them per doubling
_BLOCK = 64  # rows worked out at once
_KEPT = 4096  # rows between two others that are remembered


class Row(NamedTuple):
    """By cores, index 0 is none and infinite."""

    alone: Floats  # seconds
    held: Floats  # seconds when half of the device's bandwidth is left
    traffic: float  # seconds of the whole device's bandwidth
    links: float  # seconds of its links to other devices

    def plus(self, other: Row) -> Row:
        """One after the other."""
        return Row(
            self.alone + other.alone, self.held + other.held, self.traffic + other.traffic, self.links + other.links
        )


class Single(NamedTuple):
    """The same of one number of cores."""

    alone: float
    held: float
    traffic: float
    links: float


class Filled(NamedTuple):
    """Several rows: alone and held by (tokens, cores), the others by tokens."""

    alone: Floats
    held: Floats
    traffic: Floats
    links: Floats


class Rows:
    """Rows by number of tokens. `fill` gives those of several numbers."""

    def __init__(self, fill: Callable[[Floats], Filled], cores: int) -> None:
        self._fill = fill
        self._exact, self._fine = _EXACT, _FINE
        self._rows = {0.0: Row(np.zeros(cores + 1), np.zeros(cores + 1), 0.0, 0.0)}
        self._between: dict[float, Row] = {}
        # By cores: what rows say of them by tokens, as far as it was asked for.
        self._singles: list[dict[float, Single]] = [{} for _ in range(cores + 1)]

    def row(self, tokens: float) -> Row:
        return self._rows.get(tokens) or self._between.get(tokens) or self._make(tokens)

    def single(self, tokens: float, cores: int) -> Single:
        """The row's part for so many cores, in plain numbers: no row is made for the one."""
        found = self._singles[cores].get(tokens)
        if found is not None:
            return found
        low, step = self._below(tokens)
        below = self._known(low, step, cores)
        if low == tokens:
            return below
        above, more = self._known(low + step, step, cores), (tokens - low) / step
        less = 1.0 - more
        return Single(
            below.alone * less + above.alone * more,
            below.held * less + above.held * more,
            below.traffic * less + above.traffic * more,
            below.links * less + above.links * more,
        )

    def alone(self, tokens: float, cores: int) -> float:
        """Its first number, in half of the time."""
        known = self._singles[cores]
        found = known.get(tokens)
        if found is not None:
            return found[0]
        low, step = self._below(tokens)
        below = (known.get(low) or self._known(low, step, cores))[0]
        if low == tokens:
            return below
        above = (known.get(low + step) or self._known(low + step, step, cores))[0]
        more = (tokens - low) / step
        return below * (1.0 - more) + above * more

    def _known(self, tokens: float, step: float, cores: int) -> Single:
        """Of a row of its own."""
        known = self._singles[cores]
        found = known.get(tokens)
        if found is None:
            row = self._node(tokens, step)
            found = known[tokens] = Single(row.alone.item(cores), row.held.item(cores), row.traffic, row.links)
        return found

    def _make(self, tokens: float) -> Row:
        below, above, part = self._around(tokens)
        if not part:
            return below
        row = Row(
            below.alone * (1.0 - part) + above.alone * part,
            below.held * (1.0 - part) + above.held * part,
            below.traffic * (1.0 - part) + above.traffic * part,
            below.links * (1.0 - part) + above.links * part,
        )
        if len(self._between) >= _KEPT:
            self._between.clear()
        self._between[tokens] = row
        return row

    def _around(self, tokens: float) -> tuple[Row, Row, float]:
        """The rows below and above, and where between them; twice the same where it has its own."""
        low, step = self._below(tokens)
        below = self._node(low, step)
        if low == tokens:
            return below, below, 0.0
        return below, self._node(low + step, step), (tokens - low) / step

    def _below(self, tokens: float) -> tuple[float, float]:
        """The number of the row below, and how far the next one is."""
        step = 1.0 if tokens < self._exact else math.ldexp(1.0, math.frexp(tokens)[1] - 1 - self._fine)
        return tokens // step * step, step

    def _node(self, tokens: float, step: float) -> Row:
        found = self._rows.get(tokens)
        if found is None:
            start = math.floor(tokens / step / _BLOCK) * _BLOCK
            wanted = (start + np.arange(_BLOCK)) * step
            alone, held, traffic, links = self._fill(np.maximum(wanted, 1.0))
            for each, *row in zip(wanted.tolist(), alone, held, traffic.tolist(), links.tolist(), strict=True):
                self._rows.setdefault(each, Row(*row))
            found = self._rows[tokens]
        return found


class RisingRows(Rows):
    """The same where filled rows may fall with tokens or rise with cores: none of these does.

    What was measured is flat here and there, and a roofline scaled by it falls there, on some of the cores or beside a
    neighbour. A running maximum needs all rows below, so there are fewer, worked out at once; beyond the last, in
    proportion.
    """

    def __init__(self, fill: Callable[[Floats], Filled], cores: int) -> None:
        super().__init__(fill, cores)
        self._exact, self._fine, self._last = 256, 6, 2.0**20

    def single(self, tokens: float, cores: int) -> Single:
        if tokens <= self._last:
            return super().single(tokens, cores)
        more = tokens / self._last
        return Single(*[each * more for each in super().single(self._last, cores)])

    def alone(self, tokens: float, cores: int) -> float:
        return super().alone(tokens, cores) if tokens <= self._last else self.single(tokens, cores).alone

    def _around(self, tokens: float) -> tuple[Row, Row, float]:
        if tokens <= self._last:
            return super()._around(tokens)
        last = self._node(self._last, 1.0)
        more = tokens / self._last
        row = Row(last.alone * more, last.held * more, last.traffic * more, last.links * more)
        return row, row, 0.0

    def _node(self, tokens: float, step: float) -> Row:
        if tokens not in self._rows:
            few = np.arange(1.0, self._exact)
            starts = np.power(2.0, np.arange(math.log2(self._exact), math.log2(self._last)))
            part = np.arange(2.0**self._fine) * 2.0**-self._fine
            wanted = np.concatenate([few, (starts[:, None] * (1.0 + part)).reshape(-1), [self._last]])
            alone, held, traffic, links = self._fill(wanted)
            alone, held = _rising(alone), _rising(held)
            for each, *row in zip(wanted.tolist(), alone, held, traffic.tolist(), links.tolist(), strict=True):
                self._rows[each] = Row(*row)
        return self._rows[tokens]


def _rising(seconds: Floats) -> Floats:
    """By (tokens, cores)."""
    least: Floats = np.maximum.accumulate(np.maximum.accumulate(seconds[:, ::-1], axis=1)[:, ::-1], axis=0)
    return least
