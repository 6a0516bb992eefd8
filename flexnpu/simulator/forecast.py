# SPDX-License-Identifier: Apache-2.0
"""What the engine asks of a forecast."""

from __future__ import annotations

from typing import Protocol

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load
from flexnpu.planner.snapshot import Requests


class EngineForecaster(Protocol):
    """flexnpu.forecast.Forecaster is one; policies ask it for `load`, `alone`, `split` too. Answers are seconds."""

    @property
    def cores(self) -> int: ...

    def load(self, requests: Requests) -> Load:
        """The requests as sums."""

    def alone(self, requests: Load) -> Floats:
        """By cores, index 0 is infinite."""

    def split(self, prefill: Load, decode: Load, cores: int) -> tuple[Floats, Floats]:
        """Both phases side by side, by decode's cores."""

    def seconds(self, cores: int, load: Load) -> float:
        """One iteration alone on so many cores."""

    def beside(self, prefill_cores: int, prefill: Load, decode_cores: int, decode: Load) -> tuple[float, float]:
        """One prefill and one decode iteration, each for as long as it runs beside the other."""

    def steps(self, cores: int, load: Load, count: int) -> Floats:
        """Each of the next `count` decode iterations, every context one token longer per step."""
