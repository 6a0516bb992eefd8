# SPDX-License-Identifier: Apache-2.0
"""What one operator costs on some of a device's cores: the roofline, one method per kind of operator.

Sizes are floats, or arrays that broadcast against `cores`. cores is None (the full device), an int, or an array of
core counts. Scalars in, scalars out, and no numpy on that way: a simulator asks for one operator a million times.

An operator that was measured (`Profile.series`) costs on all cores what was measured; its roofline, scaled by the same
factor, says how that changes with cores and beside a neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import sqrt
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration_lattices import (
    context_lattice,
    gemm_lattice,
    generation_lattice,
    layers_lattice,
)
from flexnpu.forecast.lattice import Lattice
from flexnpu.forecast.profile import Profile, saturation
from flexnpu.forecast.tables.dtypes import ELEMENT_BYTES, MATRIX_RATE, known_dtype
from flexnpu.forecast.tiling import busiest
from flexnpu.hardware import Soc

Amount = float | Floats
Cores = int | npt.NDArray[np.int64] | None
_Key = TypeVar("_Key")

QUERIES = 128.0  # that attention works on at a time
# Layers of vLLM's models as tables of layers name them: those of a product, of each layer, and of an iteration.
LAYERS: Mapping[str, Mapping[str, float]] = {
    "qkv": {"qkv_proj": 1},
    "o": {"o_proj": 1},
    "gate_up": {"gate_up_proj": 1},
    "down": {"down_proj": 1},
    "lm_head": {"lm_head": 1, "sampler": 1},
}
EACH_LAYER: Mapping[str, float] = {"layernorm": 2, "rotary_emb": 1, "act_fn": 1}
ONCE: Mapping[str, float] = {"embedding": 1, "final_layernorm": 1}


class Cost(NamedTuple):
    """Seconds of one operator, alone on its cores."""

    compute: Amount  # were bandwidth free
    memory: Amount  # of moving its bytes at the rate that its cores draw
    fixed: Amount  # that no core count shortens
    traffic: Amount  # of the whole device's bandwidth that its bytes take; at most `memory`
    links: Amount = 0.0  # of `fixed`, that other devices are sent to

    def times(self, count: Amount) -> Cost:
        """That many of it, one after another."""
        compute, memory, fixed, traffic, links = self
        return Cost(compute * count, memory * count, fixed * count, traffic * count, links * count)


def bound_by(cost: Cost, alone: float) -> str:
    """What most of an operator's time on so many cores goes to."""
    if 2.0 * cost.fixed > alone:
        return "launch" if 2.0 * cost.links < cost.fixed else "links"
    return "compute" if cost.compute >= cost.memory else "bandwidth"


class Cache(NamedTuple):
    """Cached keys and values where they are not in 16 bits, or not one per head."""

    dtype: str
    bytes_per_token: float  # of one layer, on this device
    measured: bool = True  # tables of plain attention hold for it


class OperatorModel:
    """Costs of operators on one device, from its data sheet and a profile."""

    def __init__(self, soc: Soc, profile: Profile) -> None:
        self.soc, self.profile = soc, profile
        share = np.arange(soc.cube_cores + 1) / soc.cube_cores
        self._compute = profile.compute(soc.peak_flops, share)
        self._bandwidth = profile.bandwidth(soc.hbm_bandwidth, share)
        self._attention_compute = saturation(share, profile.attention_bend) * (
            profile.attention_efficiency * soc.peak_flops
        )
        self._all_slowness = (
            1.0 / self._attention_compute[1:],
            1.0 / self._bandwidth[1:],
            1.0 / (share[1:] * soc.cube_cores),
        )
        # Plain floats beside the arrays: numpy's own scalars are several times slower.
        self.bandwidth_by_cores: list[float] = self._bandwidth.tolist()
        self.attention_by_cores: list[float] = self._attention_compute.tolist()
        self._full = self.bandwidth_by_cores[-1]
        # Of the bandwidth that streams reach, decode attention reaches more or less.
        self.attention_pace = profile.bandwidth_efficiency / profile.attention_bandwidth
        self._gemms: dict[tuple[int, int, str, str], Lattice | None] = {}
        self._elementwise: dict[int, Lattice | None] = {}
        self._lattices: dict[tuple[str, int, int, int, str], Lattice | None] = {}
        # Whether calls over prompts and running requests together were measured.
        self.joins = any(one.kind == "mixed" for one in profile.series)

    def gemm(  # noqa: PLR0913, PLR0917 - a product's sizes, and where it belongs
        self, m: Amount, n: int, k: int, dtype: str = "bf16", cores: Cores = None, name: str = ""
    ) -> Cost:
        """(m, k) x (k, n): m tokens through a weight matrix; `name` is what a table of layers may know it by."""
        roofline = self._gemm(m, n, k, dtype, cores)
        if not self.profile.series:
            return roofline
        key = (n, k, dtype, name)
        if key not in self._gemms:
            layer = layers_lattice(self.profile.series, self.soc, LAYERS.get(name, {}))
            self._gemms[key] = layer or gemm_lattice(self.profile.series, self.soc, n, k, known_dtype(dtype))
        measured = self._gemms[key]
        if measured is None:
            return roofline
        size, inputs, rate = self._format(dtype)
        least = self.least(m * (2.0 * n * k / rate), m * (k * inputs + n * 2.0) + n * k * size)
        return self._scaled(roofline, measured, cores, (m,), lambda: self._gemm(m, n, k, dtype, None), least)

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
        cache: Cache | None = None,
    ) -> Cost:
        """Prompts of `sequences` requests: `tokens` queries, `pairs` of a query and a key, `seen` keys and values.

        cache: keys that were cached come from there, a prompt's own in 16 bits. None: all of them in 16 bits.
        """
        sizes = (sequences, pairs, tokens, seen, heads, kv_heads, head_dim)
        cached = None if cache is None else cache.bytes_per_token
        if not self.profile.series or (cache is not None and not cache.measured):
            return self.context_of(*sizes, cores, cached=cached)
        measured = self.lattice("context", heads, kv_heads, head_dim)
        if measured is not None:
            # It was measured with a cache in 16 bits. Prompts compute more than they read, so it stands for others too.
            cached = None
        roofline = self.context_of(*sizes, cores, cached=cached)
        if measured is None:
            return roofline
        # Tables of (sequences, pairs) do not know how many keys are read: their bytes take what they take.
        reads = tokens * (4.0 * heads * head_dim) + seen * (4.0 * kv_heads * head_dim)
        least = self.least(pairs * (4.0 * heads * head_dim), reads / self.profile.bandwidth_efficiency)
        return self._scaled(roofline, measured, cores, (sequences, pairs), lambda: self.context_of(*sizes, None), least)

    def generation_attention(  # noqa: PLR0913, PLR0917
        self,
        sequences: Amount,
        seen: Amount,
        heads: int,
        kv_heads: int,
        head_dim: int,
        cores: Cores = None,
        cache: Cache | None = None,
    ) -> Cost:
        """One new token of each of `sequences` requests, over `seen` keys and values in all."""
        sizes = (sequences, seen, heads, kv_heads, head_dim)
        each = 4.0 * kv_heads * head_dim if cache is None else cache.bytes_per_token
        roofline = self._generation(*sizes, cores, each)
        if not self.profile.series or (cache is not None and not cache.measured):
            return roofline
        measured = self.lattice("generation", heads, kv_heads, head_dim, "bf16" if cache is None else cache.dtype)
        if measured is None:
            return roofline
        # Half of the operations: a cache in 8 bits may be multiplied in 8.
        least = self.least(seen * (2.0 * heads * head_dim), sequences * (4.0 * heads * head_dim) + seen * each)
        whole = partial(self._generation, *sizes, None, each)
        return self._scaled(roofline, measured, cores, (sequences, seen), whole, least)

    def elementwise(
        self, bytes: Amount, launches: float, cores: Cores = None, tokens: Amount | None = None, layers: int = 0
    ) -> Cost:
        """Norms, activations, residuals, copies: `bytes` moved in `launches` launches.

        Of `tokens` through so many layers of a model, where a table of layers may know them.
        """
        roofline = self._moved(bytes, launches, cores)
        if tokens is None or not self.profile.series:
            return roofline
        if layers not in self._elementwise:
            counted = {**{name: count * layers for name, count in EACH_LAYER.items()}, **ONCE}
            self._elementwise[layers] = layers_lattice(self.profile.series, self.soc, counted)
        measured = self._elementwise[layers]
        if measured is None:
            return roofline
        return self._scaled(roofline, measured, cores, (tokens,), lambda: self._moved(bytes, launches, None))

    def seconds(self, cost: Cost, bandwidth: float = 1.0) -> Amount:
        """Time when at most the part `bandwidth` of the device's bandwidth is left to it; 1.0 is alone.

        Compute and memory overlap in part: the 2-norm of both, between the larger (all) and the sum (none), or nearer
        to the larger by the profile's `overlap`.
        """
        memory = cost.memory if bandwidth >= 1.0 else _larger(cost.memory, cost.traffic * (1.0 / bandwidth))
        both = _overlapped(cost.compute, memory)
        if self.profile.overlap:
            both = both + self.profile.overlap * (_larger(cost.compute, memory) - both)
        return both + cost.fixed

    def _moved(self, moved: Amount, launches: float, cores: Cores) -> Cost:
        cores = self.soc.cube_cores if cores is None else cores
        memory = moved / (self.bandwidth_by_cores[cores] if isinstance(cores, int) else self._bandwidth[cores])
        return Cost(moved * 0.0, memory, launches * self.profile.vector_seconds, moved * (1.0 / self._full))

    def _gemm(self, m: Amount, n: int, k: int, dtype: str, cores: Cores) -> Cost:
        size, inputs, rate = self._format(dtype)
        moved = m * (k * inputs + n * 2.0) + n * k * size
        cores = self.soc.cube_cores if cores is None else cores
        if self.profile.tile > 1:
            compute: Amount = self._cut(m, n, cores) * (2.0 * k / rate)
        else:
            compute = m * (2.0 * n * k / rate) / self._compute[cores]
        memory = moved / self._bandwidth[cores]
        if isinstance(cores, int) and not isinstance(m, np.ndarray):
            compute, memory = float(compute), float(memory)
        return Cost(compute, memory, self.profile.matmul_seconds, moved * (1.0 / self._full))

    def grouped_gemm(  # noqa: PLR0913, PLR0917
        self, rows: Amount, groups: Amount, n: int, k: int, dtype: str = "bf16", cores: Cores = None
    ) -> Cost:
        """Products of `rows` rows in all with a (k, n) matrix of each of `groups` groups, in one launch.

        Groups are cut over all cores, each up to whole tiles of rows.
        """
        size, inputs, rate = self._format(dtype)
        cores = self.soc.cube_cores if cores is None else cores
        tiled = rows + groups * (self.profile.tile - 1.0)
        compute = tiled * (2.0 * n * k / rate) / self._compute[cores]
        moved = rows * (k * inputs + n * 2.0) + groups * (n * k * size)
        memory = moved / self._bandwidth[cores]
        if isinstance(cores, int) and not isinstance(rows, np.ndarray):
            compute, memory = float(compute), float(memory)
        return Cost(compute, memory, self.profile.matmul_seconds, moved * (1.0 / self._full))

    def _cut(self, m: Amount, n: int, cores: int | npt.NDArray[np.int64]) -> Floats:
        """Multiply-adds per row of k over the rate, of the busiest core on the best cut. Idle cores are allowed."""
        work = busiest(m, n, self.soc.cube_cores, self.profile.tile)
        each = self._compute[1:] / np.arange(1, self.soc.cube_cores + 1)
        times = np.minimum.accumulate(work / each, axis=1)[:, cores - 1]
        shape = np.shape(m) if isinstance(cores, int) else (*np.shape(m)[:-1], len(cores))
        return times.reshape(shape)

    def context_of(  # noqa: PLR0913, PLR0917
        self,
        sequences: Amount,
        pairs: Amount,
        tokens: Amount,
        seen: Amount,
        heads: int,
        kv_heads: int,
        head_dim: int,
        cores: Cores,
        longest: Amount | None = None,
        diagonal: Amount = QUERIES / 2.0,
        cached: float | None = None,
    ) -> Cost:
        """longest: keys of the longest sequence, where that is known; of sums it is estimated so that it never falls
        when a sequence comes. diagonal: keys that a causal block computes and throws away, per query. cached: bytes of
        a cached key and value, where they differ from a new one's."""
        profile = self.profile
        cores = self.soc.cube_cores if cores is None else cores
        width = self.width(head_dim)
        blocks = heads * _larger(tokens * (1.0 / QUERIES), sequences)
        flops = (pairs + tokens * diagonal) * (heads * 4.0 * width)
        if longest is None:
            longest = _smaller(seen, (2.0 * pairs) ** 0.5)
        # A block runs on one core, at the rate of a core among as many as there are blocks.
        share = _smaller(blocks * (1.0 / self.soc.cube_cores), 1.0)
        rate = (1.0 + profile.attention_bend * (1.0 - share)) * (self.attention_by_cores[-1] / self.soc.cube_cores)
        block = longest * (QUERIES * 4.0 * width) / rate + profile.block_seconds
        own = 4.0 * kv_heads * head_dim
        cached = own if cached is None else cached
        # Keys are read no quicker than by running requests.
        moved = tokens * (4.0 * heads * head_dim + own - cached) + seen * (cached * self.attention_pace)
        if isinstance(cores, int):
            spread = flops / self.attention_by_cores[cores] + blocks * (profile.block_seconds / cores)
            memory = moved / self.bandwidth_by_cores[cores]
        else:
            slow_compute, slow_memory, part = self._slowness(cores)
            spread = flops * slow_compute + (blocks * profile.block_seconds) * part
            memory = moved * slow_memory
        return Cost(_longer(spread, block), memory, profile.attention_seconds, moved * (1.0 / self._full))

    def _generation(  # noqa: PLR0913, PLR0917
        self,
        sequences: Amount,
        seen: Amount,
        heads: int,
        kv_heads: int,
        head_dim: int,
        cores: Cores,
        each: float,  # bytes of a key and its value
    ) -> Cost:
        profile = self.profile
        cores = self.soc.cube_cores if cores is None else cores
        flops = seen * (kv_heads * 4.0 * head_dim * self.rows_of_a_group(heads, kv_heads))
        moved = sequences * (4.0 * heads * head_dim) + seen * each
        if isinstance(cores, int):
            compute = flops / self.attention_by_cores[cores] + profile.block_seconds
            memory = moved * (self.attention_pace / self.bandwidth_by_cores[cores])
        else:
            slow_compute, slow_memory, _ = self._slowness(cores)
            compute = flops * slow_compute + profile.block_seconds
            memory = (moved * self.attention_pace) * slow_memory
        return Cost(compute, memory, profile.attention_seconds, moved * (self.attention_pace / self._full))

    def width(self, head_dim: int) -> float:
        """Of a head, as prompts are computed: softmax takes its time whatever the head's size."""
        return self.profile.softmax_part * 128.0 + (1.0 - self.profile.softmax_part) * head_dim

    def rows_of_a_group(self, heads: int, kv_heads: int) -> float:
        """A group of heads shares its keys; the cube takes 16 rows whether there are as many heads or not."""
        return 16.0 * -(-heads // kv_heads // 16) if self.profile.tile > 1 else heads / kv_heads

    def _slowness(self, cores: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """Attention's seconds per operation and per byte, and a core's part. Mostly all counts are asked for."""
        if len(cores) == self.soc.cube_cores and cores[0] == 1:
            return self._all_slowness
        return 1.0 / self._attention_compute[cores], 1.0 / self._bandwidth[cores], 1.0 / cores

    def _format(self, dtype: str) -> tuple[float, float, float]:
        """Bytes of a weight and of an input, rate relative to 16 bits."""
        if dtype == "int8_wo":  # tables have no name for it
            return 1.0, 2.0, 1.0
        size = ELEMENT_BYTES.get(dtype, 2.0)
        return size, 2.0 if dtype == "int4" else size, self._rate(dtype)

    def _rate(self, dtype: str) -> float:
        known = known_dtype(dtype)
        if known in {"fp8", "fp8_block"}:
            return self.soc.matrix_rate("fp8")
        if known in {"int8", "fp32"}:
            return self.soc.matrix_rate(known)
        return MATRIX_RATE.get(known, 1.0)

    def lattice(self, kind: str, heads: int, kv_heads: int, head_dim: int, kv_dtype: str = "bf16") -> Lattice | None:
        """Measured attention of that kind, context or generation; None where it was not."""
        key = (kind, heads, kv_heads, head_dim, kv_dtype)
        if key not in self._lattices:
            series, soc = self.profile.series, self.soc
            sizes = {"heads": float(heads), "kv_heads": float(kv_heads), "head_dim": float(head_dim)}
            formats = {"dtype": "bf16", "kv_dtype": kv_dtype}
            if kind == "generation":
                found = generation_lattice(series, soc, sizes, formats)
            else:
                found = context_lattice(series, soc, sizes, formats)
            self._lattices[key] = found
        return self._lattices[key]

    def _scaled(  # noqa: PLR0913, PLR0917 - two models of one operator, and where they are asked
        self,
        roofline: Cost,
        measured: Lattice,
        cores: Cores,
        sizes: tuple[Amount, ...],
        whole: Callable[[], Cost],
        least: Amount = 0.0,  # seconds: what the whole device cannot be quicker than
    ) -> Cost:
        """The roofline times measured over roofline, both on the whole device."""
        all_of_them = cores is None or (isinstance(cores, int) and cores == self.soc.cube_cores)
        full = self.seconds(roofline if all_of_them else whole())
        if isinstance(full, float):
            return roofline.times(_larger(measured.one(*sizes), least) / full)  # type: ignore[arg-type]
        return roofline.times(_larger(measured.many(*sizes), least) / full)

    def least(self, flops: Amount, moved: Amount) -> Amount:
        """Seconds of the whole device: operations at its peak, or bytes that L2 cannot have kept at its bandwidth."""
        soc = self.soc
        return _larger(flops * (1.0 / soc.peak_flops), (moved - soc.l2_bytes) * (1.0 / soc.hbm_bandwidth))


def _larger(one: Amount, other: Amount) -> Amount:
    if isinstance(one, float) and isinstance(other, float):
        return one if one > other else other
    return np.maximum(one, other)


def _smaller(one: Amount, other: Amount) -> Amount:
    if isinstance(one, float) and isinstance(other, float):
        return one if one < other else other
    return np.minimum(one, other)


def _overlapped(one: Amount, other: Amount) -> Amount:
    """The 2-norm: between the larger (what overlaps in full) and the sum (what does not at all)."""
    if isinstance(one, float) and isinstance(other, float):
        return sqrt(one * one + other * other)
    return np.hypot(one, other)


def _longer(one: Amount, other: Amount) -> Amount:
    """The 4-norm: the larger, and a little more where both are alike."""
    return _overlapped(one * one, other * other) ** 0.5
