# SPDX-License-Identifier: Apache-2.0
"""What one operator costs on some of a device's cores: the roofline, one method per kind of operator.

Sizes are floats, or arrays that broadcast against `cores`. cores is None (the full device), an int, or an array of
core counts. Scalars in, scalars out, and no numpy on that way: a simulator asks for one operator a million times.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.profile import Profile
from flexnpu.hardware import Soc

Amount = float | Floats
Cores = int | npt.NDArray[np.int64] | None

ELEMENT_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "fp8": 1.0}
# Matrix rate relative to 16 bits.
MATRIX_RATE = {"fp32": 0.25, "bf16": 1.0, "fp16": 1.0, "int8": 2.0, "fp8": 2.0}


class Cost(NamedTuple):
    """Seconds of one operator, alone on its cores."""

    compute: Amount  # were bandwidth free
    memory: Amount  # of moving its bytes at the rate that its cores draw
    fixed: Amount  # that no core count shortens
    traffic: Amount  # of the whole device's bandwidth that its bytes take; at most `memory`

    def times(self, count: float) -> Cost:
        """That many of it, one after another."""
        return Cost(self.compute * count, self.memory * count, self.fixed * count, self.traffic * count)


NOTHING = Cost(0.0, 0.0, 0.0, 0.0)


class OperatorModel:
    """Costs of operators on one device, from its data sheet and a profile's constants."""

    def __init__(self, soc: Soc, profile: Profile) -> None:
        self.soc, self.profile = soc, profile
        share = np.arange(soc.cube_cores + 1) / soc.cube_cores
        self._compute = profile.compute(soc.peak_flops, share)
        self._bandwidth = profile.bandwidth(soc.hbm_bandwidth, share)
        # Plain floats beside the arrays: numpy's own scalars are several times slower.
        self._compute_list: list[float] = self._compute.tolist()
        self._bandwidth_list: list[float] = self._bandwidth.tolist()
        self._full = self._bandwidth_list[-1]

    def gemm(self, m: Amount, n: int, k: int, dtype: str = "bf16", cores: Cores = None) -> Cost:
        """(m, k) x (k, n): m tokens through a weight matrix."""
        size = ELEMENT_BYTES[dtype]
        moved = (m * (k + n) + n * k) * size
        return self._cost(m * (2.0 * n * k / MATRIX_RATE[dtype]), moved, self.profile.matmul_seconds, cores)

    def context_attention(  # noqa: PLR0913, PLR0917 - the sums of a Load and the sizes of a head
        self,
        sequences: Amount,
        pairs: Amount,
        tokens: Amount,
        seen: Amount,
        heads: int,
        kv_heads: int,
        head_dim: int,
        cores: Cores = None,
    ) -> Cost:
        """Prompts of `sequences` requests: `tokens` queries, `pairs` of a query and a key, `seen` keys and values."""
        flops = pairs * (heads * (4.0 * head_dim + 2.0))
        moved = tokens * (4.0 * heads * head_dim) + seen * (4.0 * kv_heads * head_dim)
        return self._cost(flops, moved, self.profile.attention_seconds, cores)

    def generation_attention(  # noqa: PLR0913, PLR0917
        self, sequences: Amount, seen: Amount, heads: int, kv_heads: int, head_dim: int, cores: Cores = None
    ) -> Cost:
        """One new token of each of `sequences` requests, over `seen` keys and values in all."""
        flops = seen * (heads * (4.0 * head_dim + 2.0))
        moved = sequences * (4.0 * heads * head_dim) + seen * (4.0 * kv_heads * head_dim)
        return self._cost(flops, moved, self.profile.attention_seconds, cores)

    def elementwise(self, bytes: Amount, launches: float, cores: Cores = None) -> Cost:
        """Norms, activations, residuals, copies: `bytes` moved in `launches` launches."""
        return self._cost(bytes * 0.0, bytes, launches * self.profile.vector_seconds, cores)

    def together(self, context: Cost, generation: Cost, bandwidth: float = 1.0) -> Amount:
        """Seconds of attention over prompts and over running requests in one iteration: two launches."""
        return self.seconds(context, bandwidth) + self.seconds(generation, bandwidth)

    def seconds(self, cost: Cost, bandwidth: float = 1.0) -> Amount:
        """Time when at most the part `bandwidth` of the device's bandwidth is left to it; 1.0 is alone."""
        memory = cost.memory if bandwidth >= 1.0 else _larger(cost.memory, cost.traffic * (1.0 / bandwidth))
        return _larger(cost.compute, memory) + cost.fixed

    def _cost(self, flops: Amount, moved: Amount, fixed: float, cores: Cores) -> Cost:
        if cores is None:
            cores = self.soc.cube_cores
        traffic = moved * (1.0 / self._full)
        if isinstance(cores, int):
            return Cost(flops / self._compute_list[cores], moved / self._bandwidth_list[cores], fixed, traffic)
        return Cost(flops / self._compute[cores], moved / self._bandwidth[cores], fixed, traffic)


def _larger(one: Amount, other: Amount) -> Amount:
    if isinstance(one, float) and isinstance(other, float):
        return one if one > other else other
    return np.maximum(one, other)
