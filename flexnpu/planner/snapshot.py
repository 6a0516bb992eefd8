# SPDX-License-Identifier: Apache-2.0
"""All that a policy may look at. No clock, no environment, no device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flexnpu.errors import InvalidValue
from flexnpu.forecast import Request
from flexnpu.forecast.batch import Floats


class SnapshotError(InvalidValue):
    """A snapshot that no plan can satisfy, such as minima over the device."""


class Split(NamedTuple):
    """Cores per phase."""

    prefill: int
    decode: int


_LEAST = Split(1, 1)


@dataclass(frozen=True, slots=True)
class Targets:
    """Latency targets in seconds of device time."""

    ttft: float
    itl: float

    def __post_init__(self) -> None:
        for name, value in (("TTFT", self.ttft), ("ITL", self.itl)):
            if not 0 < value < float("inf"):
                raise SnapshotError(f"{name} target is {value} s; it must be over 0, such as 1s or 50ms")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state at one moment, and the rules a plan has to keep.

    device_cores: what both phases may have together; fewer than the device's where others have a part of it.
    prefill: prompts that wait or run; for a single engine, the chunk its token budget admits to the next iteration.
    decode: running requests, each with one new token.
    minima: guaranteed cores of each phase. idle_reserve: cores that an idle prefill keeps beyond its minimum, because
    an engine launches ahead, and the operators launched at an arrival run on the cores it had until then.
    margin: part of the ITL target that may be planned for. band: how much further under it decode has to be before
    it gives cores back. switch_seconds: what a move costs; prefill must gain more.
    """

    device_cores: int
    targets: Targets
    prefill: Sequence[Request] = ()
    decode: Sequence[Request] = ()
    current: Split | None = None
    minima: Split = _LEAST
    idle_reserve: int = 0
    margin: float = 0.9
    band: float = 0.1
    switch_seconds: float = 0.005

    def __post_init__(self) -> None:
        if min(self.minima) < 1 or sum(self.minima) > self.device_cores:
            raise SnapshotError(
                f"minima are {self.minima.prefill} + {self.minima.decode} cores; each must be 1 or more "
                f"and both together at most the device's {self.device_cores}"
            )
        if not (0 < self.margin <= 1 and 0 <= self.band < 1 and self.switch_seconds >= 0 and self.idle_reserve >= 0):
            raise SnapshotError(
                f"margin {self.margin}, band {self.band}, switch_seconds {self.switch_seconds}, idle_reserve "
                f"{self.idle_reserve}; margin must be in (0, 1], band in [0, 1), the others 0 or more"
            )

    @property
    def decode_range(self) -> range:
        """Decode cores that keep both minima."""
        return range(self.minima.decode, self.device_cores - self.minima.prefill + 1)


class PhaseForecaster(Protocol):
    """What a policy asks of a forecast; flexnpu.forecast.Forecaster is one."""

    def alone(self, requests: Sequence[Request]) -> Floats:
        """Seconds by cores, index 0 to the device's."""

    def split(self, prefill: Sequence[Request], decode: Sequence[Request], cores: int) -> tuple[Floats, Floats]:
        """Seconds of prefill and of decode side by side, by decode's cores; prefill has the rest of `cores`."""
