# SPDX-License-Identifier: Apache-2.0
"""Attention of an iteration where no measurements scale it: OperatorModel's equations, in a third of the time.

One prompt is charged as a prompt; whatever else there is, reads its keys as running requests do, in a launch of its
own. So a batch takes no less time when a request of it asks for a second token, and turns from one into the other.

A plan asks for a handful of forecasts and a simulator for a million. So what heads and device fix is worked out once,
and sizes are floats, on one number of cores or on each: nobody looks whether they are arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.breakdown import Quote
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
        self._context = times * 4.0 * width * attention.heads, times * query, times * each * self._pace
        heads, kv_heads, size, each = attention.decoding
        pair = 4.0 * size * kv_heads * operators.rows_of_a_group(heads, kv_heads)
        self._generation = times * pair, times * 4.0 * heads * size, times * each
        # Of a key that nothing hides; as rows of _slow_moves.
        self._reading = np.hypot(self._generation[0] * self._slow, self._context[2] * self._slow_moves)
        self._read_alone, self._read_held = self._reading.tolist()

    def seconds(self, load: Load, cores: int) -> float:
        """Alone on so many cores."""
        _, prompts, _, _, readers, _, _ = load
        total, bandwidth = 0.0, self._bandwidth[cores]
        if prompts:
            squared, moved, surplus = self._of_prompts(load, cores)
            memory = moved / bandwidth
            total = sqrt(squared + memory * memory) + self._fixed
            if surplus:
                total += surplus * self._read_alone[cores]
            readers += prompts - 1.0 if prompts > 1.0 else 0.0
        if readers > 0.0:
            compute, moved = self._of_running(readers, load.decode_seen, cores)
            memory = moved / bandwidth
            total += sqrt(compute * compute + memory * memory) + self._fixed
        return total

    def single(self, load: Load, cores: int) -> tuple[float, float, float]:
        """The same, beside a neighbour, and what its bytes take of the whole bandwidth."""
        alone = held = traffic = 0.0
        bandwidth, left, readers = self._bandwidth[cores], self._left[cores], load.readers
        if load.prefill_sequences:
            squared, moved, surplus = self._of_prompts(load, cores)
            memory, slower = moved / bandwidth, moved / left
            alone = sqrt(squared + memory * memory) + self._fixed + surplus * self._read_alone[cores]
            held = sqrt(squared + slower * slower) + self._fixed + surplus * self._read_held[cores]
            traffic = surplus * self._context[2] + moved
        if readers > 0.0:
            compute, moved = self._of_running(readers, load.decode_seen, cores)
            memory, slower = moved / bandwidth, moved / left
            alone += sqrt(compute * compute + memory * memory) + self._fixed
            held += sqrt(compute * compute + slower * slower) + self._fixed
            traffic += moved
        return alone, held, traffic / self._full

    def prompts(self, load: Load, cores: int) -> Quote:
        """What prompts add to what the running requests of an iteration take by themselves."""
        squared, moved, _ = self._of_prompts(load, cores)
        several = load.prefill_sequences > 1.0
        alone, held, traffic = self.single(load if several else Load(*load[:4]), cores)
        if several and load.decode_sequences:
            running = self.single(Load.decode(load.decode_sequences, load.decode_seen), cores)
            alone, held, traffic = alone - running[0], held - running[1], traffic - running[2]
        bound = "compute" if squared >= (moved / self._bandwidth[cores]) ** 2 else "bandwidth"
        if 2.0 * self._fixed > alone:
            bound = "launch"
        return Quote("prefill_attention", "context_attention", alone, held, traffic, 0.0, bound)

    def by_cores(self, load: Load) -> tuple[Floats, Floats, float]:
        """The same by cores; what it says of none is to be ignored."""
        total: Floats | None = None
        traffic, readers = 0.0, load.readers
        # In place: half of the time would go to new arrays.
        if load.prefill_sequences:
            operations, blocks, block, moved, surplus = self._prompts(load)
            compute = self._slow * operations
            compute += self._part * blocks
            compute *= compute
            compute *= compute
            compute += block**4
            total = self._slow_moves * moved
            total *= total
            total += np.sqrt(compute, compute)
            np.sqrt(total, total)
            if surplus:
                total += self._reading * surplus
            total += self._fixed
            traffic += (moved + surplus * self._context[2]) / self._full
        if readers > 0.0:
            operations, moved = self._running(readers, load.decode_seen)
            seconds = self._slow_moves * moved
            seconds *= seconds
            if operations:
                compute = self._slow * operations
                compute += self._block
                compute *= compute
                seconds += compute
            else:
                seconds += self._block * self._block
            np.sqrt(seconds, seconds)
            seconds += self._fixed
            total = seconds if total is None else np.add(total, seconds, total)
            traffic += moved / self._full
        assert total is not None
        return total[0], total[1], traffic

    def steps(self, load: Load, cores: int, seen: Floats) -> Floats:
        """Seconds alone, by the keys that running requests read."""
        prompts, readers = 0.0, load.readers
        if load.prefill_sequences:
            squared, moved, surplus = self._of_prompts(load, cores)
            prompts = sqrt(squared + (moved / self._bandwidth[cores]) ** 2) + self._fixed
            prompts += surplus * self._read_alone[cores]
        if readers <= 0.0:
            return np.full(len(seen), prompts)
        operations, query, key = self._generation
        memory = seen * key
        memory += readers * query
        memory *= self._pace / self._bandwidth[cores]
        compute = seen * (operations / self._rates[cores])
        compute += self._block
        running = np.hypot(compute, memory, compute)
        running += self._fixed
        running += prompts
        return running

    def _of_prompts(self, load: Load, cores: int) -> tuple[float, float, float]:
        """Seconds of computing, squared, bytes, and keys beyond them, of prompts as one."""
        operations, blocks, block, moved, surplus = self._prompts(load)
        spread = operations / self._rates[cores] + blocks / cores
        spread, block = spread * spread, block * block
        return sqrt(spread * spread + block * block), moved, surplus

    def _of_running(self, sequences: float, seen: float, cores: int) -> tuple[float, float]:
        """Seconds of computing, and bytes, of one new token each."""
        operations, moved = self._running(sequences, seen)
        return operations / self._rates[cores] + self._block, moved

    def _prompts(self, load: Load) -> tuple[float, float, float, float, float]:
        """Operations, one core's seconds for all blocks, those of the longest one, bytes, and keys beyond those.

        `context_of` says why. What one prompt of so many tokens and pairs reads, computing hides; the rest it does not.
        """
        tokens, sequences, pairs, seen, _, _, _ = load
        operations, query, key = self._context
        blocks = tokens * (1.0 / QUERIES)
        blocks = self._heads * (blocks if blocks > sequences else sequences)
        share = blocks * self._share
        rate = self._core if share >= 1.0 else (1.0 + self._bend * (1.0 - share)) * self._core
        longest = sqrt(2.0 * pairs)
        block = (longest if longest < seen else seen) * self._key / rate + self._block
        first = hidden_keys(tokens, pairs, seen)
        work = (pairs + tokens * (QUERIES / 2.0)) * operations
        # No less than a running request computes, whose few heads the cube may fill up to a tile.
        least = first * self._generation[0]
        return work if work > least else least, blocks * self._block, block, tokens * query + first * key, seen - first

    def _running(self, sequences: float, seen: float) -> tuple[float, float]:
        """Operations and bytes of one new token each; bytes count by how quickly they are read."""
        operations, query, key = self._generation
        return seen * operations, (sequences * query + seen * key) * self._pace


def hidden_keys(tokens: float, pairs: float, seen: float) -> float:
    """Keys whose reading the computing of so many pairs hides: those of one prompt with so many tokens and pairs.

    That is the fewest that prompts of so many can have. Of fewer queries than a block so much less, down to the prompt
    of as many pairs with nothing cached; more tokens than one prompt has, as several short ones have, change nothing.
    """
    own = 0.5 * (sqrt(1.0 + 8.0 * pairs) - 1.0)
    if tokens < own:
        one = pairs / tokens + 0.5 * (tokens - 1.0)
        own = one if tokens >= QUERIES else own + (one - own) * (tokens * (1.0 / QUERIES))
    return own if own < seen else seen


def _inverse(values: Iterable[float]) -> Floats:
    """Of those from the second on; the first is 0."""
    return np.array([1.0 / each if place else 0.0 for place, each in enumerate(values)])
