# SPDX-License-Identifier: Apache-2.0
"""The targets that a request is held to, written as "ttft=2s,itl=100ms"."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flexnpu.errors import InvalidValue
from flexnpu.forecast.load import Load
from flexnpu.simulator.arrival import Finished
from flexnpu.simulator.forecast import EngineForecaster
from flexnpu.units import parse_duration

EXAMPLE = "ttft=2s,itl=100ms"
# What of a request is held against the ITL target.
ITL_BY = {
    "mean": "the mean time per output token after the first (TPOT)",
    "p99": "the 99th percentile of its token gaps",
    "max": "its longest token gap",
}


class SloError(InvalidValue):
    """Targets that cannot be read, or that nothing can meet."""


@dataclass(frozen=True, slots=True)
class Slo:
    """Seconds, over 0."""

    ttft: float
    itl: float
    itl_by: str = "mean"

    def misses(self, request: Finished) -> tuple[bool, bool]:
        """Whether a finished request missed TTFT, and whether it missed ITL. One output token has no gaps."""
        late = request.ttft > self.ttft
        return late, self.gap(request) > self.itl

    def gap(self, request: Finished) -> float:
        """Seconds that are held against `itl`."""
        if request.output < 2:
            return 0.0
        if self.itl_by == "mean":
            return request.mean_tpot
        return request.itl_p99 if self.itl_by == "p99" else request.itl_max

    def __str__(self) -> str:
        name = {"mean": "mean ITL", "p99": "p99 ITL", "max": "longest ITL"}[self.itl_by]
        return f"TTFT ≤ {show_seconds(self.ttft)}, {name} ≤ {show_seconds(self.itl)}"


def parse_slo(text: str, itl_by: str = "mean") -> Slo:
    """An Slo of "ttft=2s,itl=100ms". Raises SloError."""
    if itl_by not in ITL_BY:
        raise SloError(f"--itl-by {itl_by!r} is not known", next_step=f"give one of {', '.join(ITL_BY)}")
    found: dict[str, float] = {}
    for item in text.split(","):
        name, equals, value = (each.strip() for each in item.partition("="))
        if name not in {"ttft", "itl"} or not equals or name in found:
            raise SloError(
                f"--slo {text!r}: {item.strip()!r} is not one target of ttft or itl",
                next_step=f"write it like {EXAMPLE}",
            )
        found[name] = parse_duration(value)
    if len(found) < 2:
        raise SloError(f"--slo {text!r} names one target of two", next_step=f"write it like {EXAMPLE}")
    return Slo(**found, itl_by=itl_by)


def show_seconds(seconds: float | None) -> str:
    """Four digits at most, with the unit that reads best: 12.3 ms, 1.50 s, 3.2 min."""
    if seconds is None or math.isnan(seconds):
        return "-"
    if seconds >= 600:
        return f"{seconds / 60:.3g} min"
    for least, unit, factor in ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (0.0, "µs", 1e6)):
        if seconds >= least * 0.9995:
            value = seconds * factor
            return f"{value:.0f} {unit}" if value >= 99.95 else f"{value:.3g} {unit}"
    return f"{seconds:g} s"


def possible(slo: Slo, forecaster: EngineForecaster) -> None:
    """Refuses targets under what one token takes on the whole idle device: no policy could meet them."""
    device = getattr(getattr(forecaster, "soc", None), "name", "the device")
    for name, target, load in (("ttft", slo.ttft, Load.prefill(1, 0)), ("itl", slo.itl, Load.decode(1, 1))):
        least = forecaster.seconds(forecaster.cores, load)
        if target < least:
            raise SloError(
                f"--slo {name}={show_seconds(target)} is under the {show_seconds(least)} that one token takes alone on "
                f"all of {device}",
                next_step=f"give {name} more than that",
            )
