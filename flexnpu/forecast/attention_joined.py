# SPDX-License-Identifier: Apache-2.0
"""Attention of an iteration where calls over a prompt and running requests together were measured, and asked for so.

Such a table has one prompt. Of a batch, one is made of all prompts' tokens and pairs; whatever keys they have beyond
it are read as running requests read theirs. And no batch takes less than its prompts would as one and alone, nor than
all of its requests would if each ran one token.
"""

from __future__ import annotations

import numpy as np

from flexnpu._native import hidden_keys
from flexnpu.forecast.attention_tabled import MeasuredAttention
from flexnpu.forecast.batch import Floats
from flexnpu.forecast.contention import HALF
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import QUERIES, Amount, Cores, Cost

_Costs = tuple[Cost | None, Cost | None]  # of a prompt, and of running requests


class JoinedAttention(MeasuredAttention):
    """Of one model on one device. Answers are seconds of all layers, as the extension's PlainAttention has them."""

    def seconds(self, load: Load, cores: int) -> float:
        """Alone on so many cores."""
        return float(self._longest(load, cores)[0])

    def single(self, load: Load, cores: int) -> tuple[float, float, float]:
        """The same, beside a neighbour, and what its bytes take of the whole bandwidth."""
        alone, held, traffic = self._longest(load, cores, HALF)
        return float(alone), float(held), traffic

    def by_cores(self, load: Load) -> tuple[Floats, Floats, float]:
        """The same by cores; what it says of none is to be ignored."""
        alone, held, traffic = self._longest(load, np.arange(1, self._cores + 1), HALF)
        return np.append(0.0, alone), np.append(0.0, held), traffic

    def steps(self, load: Load, cores: int, seen: Floats) -> Floats:
        """Seconds alone, by the keys that running requests read."""
        found: Floats = np.zeros(len(seen)) + self._longest(load, cores, 1.0, seen)[0]
        return found

    def _longest(
        self, load: Load, cores: Cores, bandwidth: float = 1.0, seen: Floats | None = None
    ) -> tuple[Amount, Amount, float]:
        """Seconds alone, those with so much of the bandwidth, and what is moved."""
        alone: Amount = 0.0
        held: Amount = 0.0
        traffic = 0.0
        for one, keys in self._bounds(load, load.decode_seen if seen is None else seen):
            costs = self._costs(one, cores, keys)
            alone = np.maximum(alone, self._together(costs, one, 1.0, keys))
            if bandwidth < 1.0:
                held = np.maximum(held, self._together(costs, one, bandwidth, keys))
                traffic = max(traffic, self._traffic(costs))
        return alone, held, traffic

    @staticmethod
    def _bounds(load: Load, seen: Amount) -> list[tuple[Load, Amount]]:
        """Loads that take no longer than this one, and keys of their running requests: the first is what it is."""
        if not load.prefill_sequences:
            return [(load, seen)] if load.decode_sequences else []
        tokens, _, pairs, keys, _, _, _ = load
        requests, first, alone = load.sequences, keys, Load(tokens, 1.0, pairs, keys)
        found: list[tuple[Load, Amount]] = []
        if requests > 1.0:
            first = hidden_keys(tokens, pairs, keys, QUERIES)
            together = alone._replace(prefill_seen=first, decode_sequences=requests - 1.0)
            found.append((together, seen + (keys - first)))
            if keys - first < 0.5:  # one prompt, as in the table, which has the other two below it
                return found
        return [*found, (alone, 0.0), (Load(decode_sequences=requests), seen + keys)]

    def _costs(self, load: Load, cores: Cores, seen: Amount) -> _Costs:
        """Of one layer."""
        work, operators = self._attention, self._operators
        context = work.context(operators, load, cores) if load.prefill_sequences else None
        if not load.decode_sequences:
            return context, None
        return context, work.generation(operators, load.decode_sequences, seen, cores)

    def _together(self, costs: _Costs, load: Load, bandwidth: float, seen: Amount) -> Amount:
        context, generation = costs
        if context is not None and generation is not None:
            seconds = self._operators.together(context, generation, bandwidth, load, seen)
        else:
            only = context or generation
            seconds = 0.0 if only is None else self._operators.seconds(only, bandwidth)
        return seconds * self._attention.times

    def _traffic(self, costs: _Costs) -> float:
        """What is moved does not depend on cores; where it was measured, it is as long as the slowest."""
        each = [cost.traffic for cost in costs if cost is not None]
        return self._attention.times * sum([one if isinstance(one, float) else float(np.max(one)) for one in each])
