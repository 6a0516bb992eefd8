# SPDX-License-Identifier: Apache-2.0
"""Attention of an iteration where operators were measured, laid out over the sums of a load, for every number of cores.

Every request of a batch reads its keys, so all of them are asked of the table of running requests; prompts add what
they take beyond that, by sequences and pairs. Both tables are made to rise with their sums and to fall with cores when
they are laid out, and nothing else is asked: so a forecast does, whatever was measured and however it is scaled.
"""

from __future__ import annotations

from math import exp, log

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration_lattices import length_of
from flexnpu.forecast.contention import HALF
from flexnpu.forecast.lattice import Lattice, around
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import Cores, Cost, OperatorModel, bound_by
from flexnpu.forecast.workload import Attention

_LEAST = 1e-9  # of a prompt's time, that it takes beyond reading: logarithms know no 0
_FAR = 1e30
# Where nothing was measured: sequences, and in steps of a root of two keys and pairs.
_SEQUENCES = np.power(2.0, np.arange(11.0))
_SEEN, _PAIRS = np.power(2.0, np.arange(0.0, 24.5, 0.5)), np.power(2.0, np.arange(0.0, 34.5, 0.5))


class Tabled:
    """Rows by two sums, straight lines in logarithms between them; beyond the last in proportion.

    A row: seconds by cores (none, too), the same with half of the bandwidth, and seconds of the whole bandwidth.
    """

    def __init__(self, first: Floats, second: Floats, values: Floats) -> None:
        """values: (len(first), len(second), entries of a row); made to rise along both."""
        logs = np.log(values)
        for axis, knots in enumerate((first, second)):
            logs = np.maximum.accumulate(logs, axis=axis)
            far = np.take(logs, [-1], axis=axis) + log(_FAR / float(knots[-1]))
            logs = np.concatenate([logs, far], axis=axis)
        self._places = [np.log(np.append(knots, _FAR)) for knots in (first, second)]
        self._lists: list[list[float]] = [places.tolist() for places in self._places]
        self._stride = len(second) + 1
        self._rows = logs.reshape(-1, logs.shape[-1])

    def row(self, first: float, second: float) -> Floats:
        corners = self._corners(first, second)
        places, weights = zip(*corners, strict=True)
        row: Floats = np.array(weights) @ self._rows[list(places)]
        return np.exp(row, row)

    def entry(self, first: float, second: float, *entries: int) -> list[float]:
        """Some of a row."""
        corners, item = self._corners(first, second), self._rows.item
        return [exp(sum([weight * item(place, entry) for place, weight in corners])) for entry in entries]

    def along(self, first: float, second: Floats, entry: int) -> Floats:
        """One entry, by the second sum."""
        total, places = np.zeros(len(second)), np.log(np.maximum(second, 1.0))
        for start, weight in around(self._lists[0], first):
            line = self._rows[start * self._stride : (start + 1) * self._stride, entry]
            total += weight * np.interp(places, self._places[1], line)
        return np.exp(total)

    def _corners(self, first: float, second: float) -> list[tuple[int, float]]:
        """Rows around a point, with their weights."""
        across = around(self._lists[1], second)
        return [
            (one * self._stride + two, weight * share)
            for one, weight in around(self._lists[0], first)
            for two, share in across
        ]


class MeasuredAttention:
    """What all of them say of an operator: its roofline's part, which is the same scaled or not."""

    def __init__(self, operators: OperatorModel, attention: Attention) -> None:
        self._operators, self._attention, self._cores = operators, attention, operators.soc.cube_cores
        self._sheet = OperatorModel(operators.soc, operators.profile.without_series())

    def prompts_bound(self, load: Load, cores: int) -> str:
        """What prompts mostly wait for."""
        return self._bound(self._attention.context(self._sheet, load, cores))

    def running_bound(self, load: Load, cores: int) -> str:
        """What running requests mostly wait for."""
        sequences, seen = load.decode_sequences, load.decode_seen
        return self._bound(self._attention.generation(self._sheet, sequences, seen, cores))

    def _bound(self, cost: Cost) -> str:
        return bound_by(cost, float(self._sheet.seconds(cost)))


class TabledAttention(MeasuredAttention):
    """Of one model on one device. Answers are seconds of all layers, as the extension's PlainAttention has them."""

    def __init__(self, operators: OperatorModel, attention: Attention) -> None:
        super().__init__(operators, attention)
        prompts = attention.measured(operators)[1]
        self._reading = reading_of(operators, attention)
        sequences, pairs = _knots(prompts, _SEQUENCES, _PAIRS)
        one, two = _mesh(sequences, pairs)
        # As prompts were measured: of one length, with nothing cached.
        tokens = one * length_of(two / one)
        cost = attention.context_sums(operators, (one, two, tokens, tokens), _all(operators))
        values = _rows(operators, cost, attention.times)
        uncached = np.hstack([one, tokens]).tolist()
        read = np.array([self._reading.row(*each) for each in uncached])
        more = _falling(np.maximum(values - read, _LEAST * values))
        self._beyond = Tabled(sequences, pairs, more.reshape(len(sequences), len(pairs), -1))

    def seconds(self, load: Load, cores: int) -> float:
        """Alone on so many cores."""
        return self._some(load, cores)[0]

    def single(self, load: Load, cores: int) -> tuple[float, float, float]:
        """The same, beside a neighbour, and what its bytes take of the whole bandwidth."""
        alone, held, traffic = self._some(load, cores, self._cores + 1 + cores, 2 * self._cores + 2)
        return alone, held, traffic

    def by_cores(self, load: Load) -> tuple[Floats, Floats, float]:
        """The same by cores; what it says of none is to be ignored."""
        row = self._reading.row(load.sequences, load.prefill_seen + load.decode_seen)
        if load.prefill_sequences:
            row += self._beyond.row(load.prefill_sequences, load.prefill_pairs)
        count = self._cores + 1
        return row[:count], row[count : 2 * count], row.item(-1)

    def steps(self, load: Load, cores: int, seen: Floats) -> Floats:
        """Seconds alone, by the keys that running requests read."""
        if not load.tokens:
            return np.zeros(len(seen))
        total = self._reading.along(load.sequences, seen + load.prefill_seen, cores)
        if load.prefill_sequences:
            total += self._beyond.entry(load.prefill_sequences, load.prefill_pairs, cores)[0]
        return total

    def _some(self, load: Load, *entries: int) -> list[float]:
        if not load.tokens:
            return [0.0] * len(entries)
        found = self._reading.entry(load.sequences, load.prefill_seen + load.decode_seen, *entries)
        if load.prefill_sequences:
            more = self._beyond.entry(load.prefill_sequences, load.prefill_pairs, *entries)
            found = [one + other for one, other in zip(found, more, strict=True)]
        return found


def reading_of(operators: OperatorModel, attention: Attention) -> Tabled:
    """Running requests by sequences and keys."""
    sequences, seen = _knots(attention.measured(operators)[0], _SEQUENCES, _SEEN)
    one, two = _mesh(sequences, seen)
    values = _rows(operators, attention.generation(operators, one, two, _all(operators)), attention.times)
    return Tabled(sequences, seen, values.reshape(len(sequences), len(seen), -1))


def _all(operators: OperatorModel) -> Cores:
    return np.arange(1, operators.soc.cube_cores + 1)


def _knots(measured: Lattice | None, first: Floats, second: Floats) -> tuple[Floats, Floats]:
    return (first, second) if measured is None else (measured.knots[0], measured.knots[1])


def _mesh(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """All pairs of both, as columns."""
    one, two = np.meshgrid(first, second, indexing="ij")
    return one.reshape(-1, 1), two.reshape(-1, 1)


def _rows(operators: OperatorModel, cost: Cost, times: int) -> Floats:
    """Costs by (size, cores) as rows of a table."""
    alone, held = np.asarray(operators.seconds(cost)), np.asarray(operators.seconds(cost, HALF))
    traffic = np.broadcast_to(cost.traffic, alone.shape).max(axis=1, keepdims=True)
    return _falling(times * np.hstack([alone[:, :1], alone, held[:, :1], held, traffic]))


def _falling(rows: Floats) -> Floats:
    """No more cores take longer than fewer; no neighbour helps."""
    count = rows.shape[1] // 2
    alone, held = (
        np.maximum.accumulate(part[:, ::-1], axis=1)[:, ::-1] for part in (rows[:, :count], rows[:, count : 2 * count])
    )
    return np.hstack([alone, np.maximum(alone, held), rows[:, -1:]])
