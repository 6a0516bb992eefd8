# SPDX-License-Identifier: Apache-2.0
"""Attention of an iteration where no measurements scale it: OperatorModel's equations, in a third of the time.

A plan asks for a handful of forecasts and a simulator for a million. So what heads and device fix is worked out once,
and sizes are floats, on one number of cores or on each: nobody looks whether they are arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import sqrt

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.contention import HALF
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import QUERIES, OperatorModel
from flexnpu.forecast.workload import Attention


class PlainAttention:
    """Of one model on one device. Answers are seconds of all layers."""

    def __init__(self, operators: OperatorModel, attention: Attention) -> None:
        profile, times = operators.profile, attention.times
        self._rates, self._bandwidth = operators.attention_by_cores, operators.bandwidth_by_cores
        self._full, self._pace = self._bandwidth[-1], operators.attention_pace
        # What is left of the bandwidth beside a neighbour that takes half of the device's.
        self._left = [min(each, HALF * self._full) for each in self._bandwidth]
        # By cores; row 0 alone, row 1 beside a neighbour.
        self._slow, self._part = _inverse(self._rates), _inverse(range(len(self._rates)))
        self._slow_moves = np.array([_inverse(self._bandwidth), _inverse(self._left)])
        self._share, self._bend = self._part[-1].item(), profile.attention_bend
        self._core, self._heads = self._rates[-1] * self._share, float(attention.heads)
        self._fixed, self._block = times * profile.attention_seconds, times * profile.block_seconds
        width = operators.width(attention.head_dim)
        self._key = times * QUERIES * 4.0 * width  # operations of a block per key
        # Operations of a pair of query and key; bytes of a query, and of a key and its value.
        query, each = 4.0 * attention.heads * attention.head_dim, attention.cached_bytes
        query += 4.0 * attention.kv_heads * attention.head_dim - each
        self._context = times * 4.0 * width * attention.heads, times * query, times * each
        heads, kv_heads, size, each = attention.decoding
        pair = 4.0 * size * kv_heads * operators.rows_of_a_group(heads, kv_heads)
        self._generation = times * pair, times * 4.0 * heads * size, times * each

    def seconds(self, load: Load, cores: int) -> float:
        """Alone on so many cores."""
        total, bandwidth = 0.0, self._bandwidth[cores]
        for squared, moved in self._phases(load, cores):
            memory = moved / bandwidth
            total += sqrt(squared + memory * memory) + self._fixed
        return total

    def single(self, load: Load, cores: int) -> tuple[float, float, float]:
        """The same, beside a neighbour, and what its bytes take of the whole bandwidth."""
        alone = held = traffic = 0.0
        for squared, moved in self._phases(load, cores):
            memory, slower = moved / self._bandwidth[cores], moved / self._left[cores]
            alone += sqrt(squared + memory * memory) + self._fixed
            held += sqrt(squared + slower * slower) + self._fixed
            traffic += moved / self._full
        return alone, held, traffic

    def by_cores(self, load: Load) -> tuple[Floats, Floats, float]:
        """The same by cores; what it says of none is to be ignored."""
        phases, traffic = [], 0.0
        if load.prefill_sequences:
            operations, blocks, block, moved = self._prompts(load)
            compute = operations * self._slow + blocks * self._part
            compute *= compute
            memory = moved * self._slow_moves
            phases.append(np.sqrt(np.sqrt(compute * compute + block**4) + memory * memory) + self._fixed)
            traffic += moved / self._full
        if load.decode_sequences:
            operations, moved = self._running(load)
            compute, memory = operations * self._slow + self._block, moved * self._slow_moves
            phases.append(np.sqrt(compute * compute + memory * memory) + self._fixed)
            traffic += moved / self._full
        alone, held = phases[0] if len(phases) == 1 else phases[0] + phases[1]
        return alone, held, traffic

    def _phases(self, load: Load, cores: int) -> Iterator[tuple[float, float]]:
        """Seconds of computing, squared, and bytes of prompts and of running requests."""
        rate = self._rates[cores]
        if load.prefill_sequences:
            operations, blocks, block, moved = self._prompts(load)
            spread = operations / rate + blocks / cores
            spread, block = spread * spread, block * block
            yield sqrt(spread * spread + block * block), moved
        if load.decode_sequences:
            operations, moved = self._running(load)
            compute = operations / rate + self._block
            yield compute * compute, moved

    def _prompts(self, load: Load) -> tuple[float, float, float, float]:
        """Operations, one core's seconds for all blocks, those of the longest one, and bytes. `context_of` says why."""
        tokens, sequences, pairs, seen, _, _, _ = load
        operations, query, key = self._context
        blocks = tokens * (1.0 / QUERIES)
        blocks = self._heads * (blocks if blocks > sequences else sequences)
        share = blocks * self._share
        rate = self._core if share >= 1.0 else (1.0 + self._bend * (1.0 - share)) * self._core
        longest = sqrt(2.0 * pairs)
        block = (longest if longest < seen else seen) * self._key / rate + self._block
        work = (pairs + tokens * (QUERIES / 2.0)) * operations
        return work, blocks * self._block, block, tokens * query + seen * key

    def _running(self, load: Load) -> tuple[float, float]:
        """Operations and bytes of one new token each; bytes count by how quickly they are read."""
        operations, query, key = self._generation
        seen = load.decode_seen
        return seen * operations, (load.decode_sequences * query + seen * key) * self._pace


def _inverse(values: Iterable[float]) -> Floats:
    """Of those from the second on; the first is 0."""
    return np.array([1.0 / each if place else 0.0 for place, each in enumerate(values)])
