# SPDX-License-Identifier: Apache-2.0
"""One layer's attention on one number of cores, in plain floats: the equations of OperatorModel in a third of the time.

A plan asks for a handful of forecasts and a simulator for a million, so what head sizes and device fix is worked out
once here, and nobody looks whether arrays were given.
"""

from __future__ import annotations

from math import sqrt

from flexnpu.forecast.contention import HALF
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import QUERIES, OperatorModel
from flexnpu.forecast.workload import Attention


class FloatAttention:
    """Attention of one model on one device, where no measurements scale it."""

    __slots__ = (
        "_bandwidth", "_bend", "_block", "_context", "_core", "_fixed", "_full", "_generation", "_heads", "_longest",
        "_pace", "_rate", "_share",
    )  # fmt: skip

    def __init__(self, operators: OperatorModel, attention: Attention) -> None:
        profile, cores = operators.profile, operators.soc.cube_cores
        self._rate, self._bandwidth = operators.attention_by_cores, operators.bandwidth_by_cores
        self._full, self._pace = self._bandwidth[-1], operators.attention_pace
        self._fixed, self._block, self._bend = profile.attention_seconds, profile.block_seconds, profile.attention_bend
        self._core, self._share, self._heads = self._rate[-1] / cores, 1.0 / cores, float(attention.heads)
        width = operators.width(attention.head_dim)
        self._longest = QUERIES * 4.0 * width
        # Operations of a pair of query and key; bytes of a query, and of a key and its value.
        own, each = 4.0 * attention.kv_heads * attention.head_dim, attention.cached_bytes
        queries = 4.0 * attention.heads * attention.head_dim
        self._context = (attention.heads * 4.0 * width, queries + own - each, each)
        heads, kv_heads, size, each = attention.decoding
        self._generation = (
            kv_heads * 4.0 * size * operators.rows_of_a_group(heads, kv_heads),
            4.0 * heads * size,
            each,
        )

    def seconds(self, load: Load, cores: int) -> float:
        """Alone, over prompts and over running requests."""
        total, bandwidth = 0.0, self._bandwidth[cores]
        if load.prefill_sequences:
            compute, moved = self._prompts(load, cores)
            total += sqrt(compute * compute + (moved / bandwidth) ** 2) + self._fixed
        if load.decode_sequences:
            compute, moved = self._running(load, cores)
            total += sqrt(compute * compute + (moved / bandwidth) ** 2) + self._fixed
        return total

    def single(self, load: Load, cores: int) -> tuple[float, float, float]:
        """The same, then with half of the device's bandwidth, then of all of it: what its bytes take there."""
        alone = held = traffic = 0.0
        work = []
        if load.prefill_sequences:
            work.append(self._prompts(load, cores))
        if load.decode_sequences:
            work.append(self._running(load, cores))
        for compute, moved in work:
            memory, least = moved / self._bandwidth[cores], moved / self._full
            alone += sqrt(compute * compute + memory * memory) + self._fixed
            held += sqrt(compute * compute + max(memory, least / HALF) ** 2) + self._fixed
            traffic += least
        return alone, held, traffic

    def _prompts(self, load: Load, cores: int) -> tuple[float, float]:
        """Seconds of computing, and bytes; `context_of` there says why."""
        tokens, sequences, pairs, seen, _, _, _ = load
        operations, query, key = self._context
        blocks = tokens * (1.0 / QUERIES)
        blocks = self._heads * (blocks if blocks > sequences else sequences)
        longest = sqrt(2.0 * pairs)
        longest = seen if seen < longest else longest
        share = blocks * self._share
        rate = self._core if share >= 1.0 else (1.0 + self._bend * (1.0 - share)) * self._core
        block = longest * self._longest / rate + self._block
        spread = (pairs + tokens * (QUERIES / 2.0)) * operations / self._rate[cores] + blocks * self._block / cores
        block, spread = block * block, spread * spread
        return sqrt(sqrt(spread * spread + block * block)), tokens * query + seen * key

    def _running(self, load: Load, cores: int) -> tuple[float, float]:
        """The same of one new token each; bytes count by how quickly they are read."""
        operations, query, key = self._generation
        moved = (load.decode_sequences * query + load.decode_seen * key) * self._pace
        return load.decode_seen * operations / self._rate[cores] + self._block, moved
