# SPDX-License-Identifier: Apache-2.0
"""All that a policy may look at. No clock, no environment, no device. Times are seconds, work is tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from flexnpu.errors import InvalidValue
from flexnpu.forecast import Request
from flexnpu.forecast.batch import Batch, Floats
from flexnpu.forecast.load import Load

_SUMMED = (Load, Batch)
Requests = Any  # Load | Batch | Sequence[Request]


class SnapshotError(InvalidValue):
    """A snapshot that no plan can satisfy, such as minima over the device."""


class Split(NamedTuple):
    """Cores per phase."""

    prefill: int
    decode: int


class Feedback(NamedTuple):
    """The target percentile of TTFT and of ITL over the window that has just closed, in seconds; None: none seen.

    A snapshot carries it once per window, so that a rule that steps on it steps once.
    """

    ttft: float | None
    itl: float | None


_LEAST = Split(1, 1)
_NO_LIMIT = float("inf")


@dataclass(frozen=True, slots=True)
class Targets:
    """Latency targets in seconds of device time.

    ttft: from arrival to the first token. itl: between tokens; on average over a request, or, with `each`, every time.
    """

    ttft: float
    itl: float
    each: bool = False

    def __post_init__(self) -> None:
        for name, value in (("TTFT", self.ttft), ("ITL", self.itl)):
            if not 0 < value < _NO_LIMIT:
                raise SnapshotError(f"{name} target is {value} s; it must be over 0, such as 1s or 50ms")


@dataclass(frozen=True, eq=False, slots=True)
class Snapshot:
    """The state at one moment, and the rules a plan has to keep.

    Lists are read when the snapshot is made, and kept as columns: a plan reads arrays and sums alone.

    device_cores: what both phases may have together; fewer than the device's where others have a part of it.
    prefill: prompts that wait or are half run, in order of arrival: `new` tokens are still to run, `cached` are done or
        were found in the cache. What a lane has in flight counts as done.
    decode: running requests, each with one new token; a Load is quickest.
    waits: seconds since each prompt of `prefill` arrived (or was last preempted, if it has its first token); parallel.
    credits: seconds by which each running request is ahead of its ITL target on average, (tokens after the first) x
        target - time since the first; +inf for one that has missed a target for good and need not be paced.
    feedback: see Feedback.
    current, current_mode, current_weight: split, mode and, where time is shared, weight of the plan now in force (None:
        none yet).
    minima: guaranteed cores of each phase. idle_reserve: cores that an idle prefill keeps beyond its minimum, because
        an engine launches ahead, and the operators launched at an arrival run on the cores it had until then.
    graphs: core counts that decode's graphs were captured at, ascending; empty: any.
    budget: most tokens of one iteration, decode's included. kv_free: tokens whose keys and values still find room.
    overhead: host seconds that each iteration takes beyond its forecast (launching, sampling).
    margin: part of the ITL target that may be planned for. band: how much better a candidate has to be than what is
        in force (for instances: how much further under the target decode has to be before it gives cores back).
    switch_seconds: what a change of the split costs; the gain must be more.
    """

    device_cores: int
    targets: Targets
    prefill: Batch | Sequence[Request] = ()
    decode: Requests = ()
    waits: Floats | Sequence[float] | None = None
    credits: Floats | Sequence[float] | None = None
    feedback: Feedback | None = None
    current: Split | None = None
    current_mode: str | None = None
    current_weight: float | None = None
    minima: Split = _LEAST
    idle_reserve: int = 0
    graphs: tuple[int, ...] = ()
    budget: int = 8192
    kv_free: float = _NO_LIMIT
    overhead: float = 0.0
    margin: float = 0.9
    band: float = 0.1
    switch_seconds: float = 0.005

    def __post_init__(self) -> None:
        if not isinstance(self.prefill, Batch):
            object.__setattr__(self, "prefill", Batch.of(self.prefill))
        if not isinstance(self.decode, _SUMMED):
            object.__setattr__(self, "decode", Batch.of(self.decode))
        if not (self.waits is None or isinstance(self.waits, np.ndarray)):
            object.__setattr__(self, "waits", np.fromiter(self.waits, np.float64, len(self.waits)))
        if not (self.credits is None or isinstance(self.credits, np.ndarray)):
            object.__setattr__(self, "credits", np.fromiter(self.credits, np.float64, len(self.credits)))
        minima = self.minima
        if minima[0] < 1 or minima[1] < 1 or minima[0] + minima[1] > self.device_cores:
            raise SnapshotError(
                f"minima are {self.minima.prefill} + {self.minima.decode} cores; each must be 1 or more "
                f"and both together at most the device's {self.device_cores}"
            )
        if not (0 < self.margin <= 1 and 0 <= self.band < 1 and self.switch_seconds >= 0 and self.idle_reserve >= 0):
            raise SnapshotError(
                f"margin {self.margin}, band {self.band}, switch_seconds {self.switch_seconds}, idle_reserve "
                f"{self.idle_reserve}; margin must be in (0, 1], band in [0, 1), the others 0 or more"
            )
        if self.budget < 1:
            raise SnapshotError(f"budget is {self.budget} tokens; an iteration must have 1 or more")
        if self.graphs and not any(count in self.decode_range for count in self.graphs):
            allowed = self.decode_range
            raise SnapshotError(
                f"graphs were captured at {', '.join(map(str, self.graphs))} cores; at least one must be in decode's "
                f"range of {allowed[0]} to {allowed[-1]}, for both minima: capture one there, or lower a minimum"
            )

    @property
    def decode_range(self) -> range:
        """Decode cores that keep both minima."""
        return range(self.minima.decode, self.device_cores - self.minima.prefill + 1)

    @property
    def decode_cores(self) -> Sequence[int]:
        """Decode cores that keep both minima and that graphs, if any, were captured at; ascending, never empty."""
        allowed = self.decode_range
        return [count for count in self.graphs if count in allowed] if self.graphs else allowed

    def ahead(self, steps: int, running: float) -> int:
        """Of so many decode steps of `running` requests, those whose keys and values find room; one at least."""
        return steps if steps * running <= self.kv_free else max(1, int(self.kv_free // running))

    @property
    def prompts(self) -> int:
        """Entries of `prefill`."""
        return len(self.prefill)

    @property
    def waiting_tokens(self) -> int:
        """New tokens of all prompts."""
        return int(Batch.of(self.prefill).tokens)

    @property
    def running(self) -> float:
        """Requests that decode; each makes one token per iteration."""
        decode = self.decode
        return float(decode.decode_sequences if isinstance(decode, Load) else decode.sequences)


class PhaseForecaster(Protocol):
    """What a policy asks of a forecast; flexnpu.forecast.Forecaster is one."""

    def load(self, requests: Requests) -> Load:
        """The requests as sums."""

    def seconds(self, cores: int, load: Load) -> float:
        """Seconds of one iteration."""

    def alone(self, requests: Requests) -> Floats:
        """Seconds by cores, index 0 to the device's."""

    def split(self, prefill: Requests, decode: Requests, cores: int) -> tuple[Floats, Floats]:
        """Seconds of prefill and of decode side by side, by decode's cores; prefill has the rest of `cores`."""

    def beside(self, prefill_cores: int, prefill: Load, decode_cores: int, decode: Load) -> tuple[float, float]:
        """The same for one split."""
