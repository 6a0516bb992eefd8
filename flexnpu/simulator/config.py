# SPDX-License-Identifier: Apache-2.0
"""The engine's settings, with vLLM's names where it has one for the same thing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from flexnpu.errors import InvalidValue
from flexnpu.hardware import Soc
from flexnpu.llm import ModelShape
from flexnpu.planner import Split, Targets

_LEAST = Split(1, 1)
_LEAST_LOOK = 1e-6  # seconds
_LEAST_FACTOR = 0.01


class SimulationError(InvalidValue):
    """Settings or a trace that cannot be simulated."""


class Phases(NamedTuple):
    """A number for each phase."""

    prefill: float
    decode: float


_AS_FORECAST, _NOTHING = Phases(1.0, 1.0), Phases(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How every engine of the pool is set. Seconds, tokens, bytes per second.

    targets: what policies plan for.
    token_budget: tokens of one iteration (vLLM's max_num_batched_tokens); decode goes first.
    max_running: requests that hold KV at once on a device (max_num_seqs).
    max_decoding: of them, those that decode at once; None: all. joins_per_step: how many of those whose prompt is
    complete may join decode between two of its steps, where any runs; None: all.
    whole_prompts: a prompt is never cut: what does not fit into an iteration beside others waits for the next.
    kv_tokens: capacity of a device's KV cache; None works it out from the memory that weights leave (`kv_capacity`).
    block_tokens: tokens of a KV block. hash_tokens: tokens behind one hash id of a trace, a multiple of block_tokens.
    devices: (n, m). A policy of layout "n:m" runs n prefill and m decode devices; all others n + m alike ones.
    link_bandwidth: bytes per second of a device's link, for KV between devices; None: the SoC's.
    kv_bytes_per_token: of a cache that travels; None: the model's.
    intake_seconds: host time to take in a request, from its arrival until it is in an engine's queue. One front takes
    in all, one after another: of many that arrive at once the first may begin an iteration before the others are in.
    It has the host by turns with the launch of an iteration with a prompt in it, which so takes up to three times as
    long, and the iteration as much longer.
    launch_seconds: host time per iteration that the device waits for: scheduling, sampling, input preparation.
    dispatch_seconds: host time to launch an iteration kernel by kernel. It is overlapped with the device's work, so an
    iteration with a prompt in it takes at least this long; decode is replayed as a graph and does not.
    graph_seconds: host time to launch one decode graph; a round of k steps launches k before its prompt.
    switch_seconds: what a lane waits when it begins on other cores than before; a change under a prompt that runs
    (launched_part) costs none. idle_reserve: cores that an idle prefill keeps beyond its minimum (planner.Snapshot).
    look_seconds: a microsecond or more: a policy is asked at its multiples alone, also while lanes are at work, and is
    shown all prompts in full, those in flight and those that find no room included, as a controller that reads engines'
    metrics; who begins in between has what was planned last. 0: it is asked whenever an iteration has ended.
    launched_part: of a prompt's iteration in a free lane, what its engine launches ahead. When cores change, so much
    goes on as it was launched and the rest on the others; 1: an iteration keeps the cores that it began with.
    beside: how many times what the forecast says an iteration in a free lane takes, on parted cores, while the other
    phase runs. turns: the same where time is shared, of what its part of the time makes of the forecast.
    turn_seconds: what an iteration takes longer where time is shared, the other phase running or not.
    graphs: core counts that decode graphs were captured at; empty: any. Elsewhere decode is launched kernel by kernel.
    reuse_plans: keep a plan while nothing that its policy looks at has changed (native/simulator/planning.h says how
    that is told); off: the policy is asked at each decision.
    look_ahead: waiting prompts that a policy is shown.
    feedback_seconds: windows after which a policy is shown the latencies that were seen; feedback_part: which quantile.
    end_seconds: the simulation stops there; who has not finished is a miss.
    sample_seconds: time between two samples of the state.
    """

    targets: Targets = field(default_factory=lambda: Targets(2.0, 0.1))
    token_budget: int = 8192
    max_running: int = 256
    max_decoding: int | None = None
    joins_per_step: int | None = None
    whole_prompts: bool = False
    kv_tokens: int | None = None
    memory_fraction: float = 0.9
    block_tokens: int = 16
    hash_tokens: int = 512
    prefix_caching: bool = True
    devices: tuple[int, int] = (1, 0)
    link_bandwidth: float | None = None
    kv_bytes_per_token: float | None = None
    intake_seconds: float = 0.0
    launch_seconds: float = 0.5e-3
    dispatch_seconds: float = 10e-3
    graph_seconds: float = 0.3e-3
    switch_seconds: float = 5e-3
    graphs: tuple[int, ...] = ()
    minima: Split = _LEAST
    idle_reserve: int = 0
    look_seconds: float = 0.0
    launched_part: float = 1.0
    beside: Phases = _AS_FORECAST
    turns: Phases = _AS_FORECAST
    turn_seconds: Phases = _NOTHING
    margin: float = 0.9
    reuse_plans: bool = True
    look_ahead: int = 256
    feedback_seconds: float = 10.0
    feedback_part: float = 0.9
    end_seconds: float = float("inf")
    sample_seconds: float = 1.0

    def __post_init__(self) -> None:
        _at_least(
            1,
            token_budget=self.token_budget,
            max_running=self.max_running,
            block_tokens=self.block_tokens,
            hash_tokens=self.hash_tokens,
            look_ahead=self.look_ahead,
        )
        _at_least(
            0,
            intake_seconds=self.intake_seconds,
            launch_seconds=self.launch_seconds,
            dispatch_seconds=self.dispatch_seconds,
            graph_seconds=self.graph_seconds,
            switch_seconds=self.switch_seconds,
            look_seconds=self.look_seconds,
        )
        if 0 < self.look_seconds < _LEAST_LOOK:
            raise SimulationError(
                f"look_seconds is {self.look_seconds}; it must be 0, or {_LEAST_LOOK} or more: shorter ones are lost "
                "in the rounding of the simulation's clock, which would stand still"
            )
        if not 0 <= self.feedback_part <= 1:
            raise SimulationError(f"feedback_part is {self.feedback_part}; it must be in [0, 1]")
        for name in ("max_decoding", "joins_per_step"):
            if (value := getattr(self, name)) is not None:
                _at_least(1, **{name: value})
        if self.kv_tokens is not None:
            _at_least(self.block_tokens, kv_tokens=self.kv_tokens)
        if self.hash_tokens % self.block_tokens:
            raise SimulationError(
                f"hash_tokens is {self.hash_tokens}; it must be a multiple of block_tokens ({self.block_tokens})"
            )
        if not 0 <= self.launched_part <= 1:
            raise SimulationError(f"launched_part is {self.launched_part}; it must be in [0, 1]")
        _each_at_least(_LEAST_FACTOR, beside=self.beside, turns=self.turns)
        _each_at_least(0.0, turn_seconds=self.turn_seconds)
        if self.token_budget < self.max_running:
            raise SimulationError(
                f"token_budget is {self.token_budget}; every one of max_running ({self.max_running}) requests needs a "
                "token per iteration, so raise the budget or lower max_running"
            )
        if not 0 < self.memory_fraction <= 1:
            raise SimulationError(f"memory_fraction is {self.memory_fraction}; it must be in (0, 1]")
        if min(self.devices) < 0 or not sum(self.devices):
            raise SimulationError(
                f"devices is {self.devices}; it must be (n, m) with at least one device, such as (1, 0)"
            )
        if not (self.sample_seconds > 0 and self.end_seconds > 0 and self.feedback_seconds > 0):
            raise SimulationError("sample_seconds, feedback_seconds and end_seconds must be over 0")
        if self.link_bandwidth is not None and not self.link_bandwidth > 0:
            raise SimulationError(f"link_bandwidth is {self.link_bandwidth}; it must be over 0 bytes per second")

    def blocks(self, model: ModelShape | None, soc: Soc | None) -> int:
        """KV blocks of one device."""
        tokens = self.kv_tokens
        if tokens is None:
            if model is None or soc is None:
                raise SimulationError("kv_tokens is not set and the forecast names no model and device; set kv_tokens")
            tokens = kv_capacity(model, soc, self.memory_fraction)
        return tokens // self.block_tokens

    def transfer_seconds(self, model: ModelShape | None, soc: Soc | None) -> float:
        """Seconds per token of a cache that goes from one device to another."""
        size = self.kv_bytes_per_token or (model.kv_bytes_per_token if model else None)
        bandwidth = self.link_bandwidth or (soc.link_bandwidth if soc else None)
        if size is None or not bandwidth:
            name = soc.name if soc else "the forecast's device"
            raise SimulationError(
                f"{name} has no link to carry caches over; set link_bandwidth, in bytes per second, and "
                "kv_bytes_per_token where the forecast names no model"
            )
        return size / bandwidth


def machine(forecaster: object) -> tuple[ModelShape | None, Soc | None]:
    """The model and the device that a forecast is for, where it says so; of several devices, what each has of it."""
    return getattr(forecaster, "part", None), getattr(forecaster, "soc", None)


def kv_capacity(model: ModelShape, soc: Soc, memory_fraction: float = 0.9) -> int:
    """Tokens whose keys and values fit into what weights leave of a device's usable memory.

    Activations are taken from the fraction that is not used, as an engine's memory profile run would find them.
    """
    free = soc.hbm_bytes * memory_fraction - model.weight_bytes
    tokens = int(free // model.kv_bytes_per_token)
    if tokens < 1:
        raise SimulationError(
            f"{soc.name} has {soc.hbm_bytes / 2**30:.0f} GiB and the weights take {model.weight_bytes / 2**30:.1f}; "
            "no KV cache fits beside them: take a larger device, more devices per model or a smaller dtype"
        )
    return tokens


def _each_at_least(least: float, **both: Phases) -> None:
    for name, phases in both.items():
        _at_least(least, **{f"{name} of {phase}": value for phase, value in phases._asdict().items()})


def _at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise SimulationError(f"{name} is {value}; it must be {least} or more")
