# SPDX-License-Identifier: Apache-2.0
"""What the engine asks of a forecast."""

from __future__ import annotations

from typing import Any, Protocol

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load
from flexnpu.planner.snapshot import Requests

_REMEMBERED = 1024  # answers


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


class Remembering:
    """A forecast for those who ask some questions again and again. Answers are those of the forecast.

    Sums are asked for as floats: of whole numbers, which may be arrays, a forecast makes twice the work.
    """

    def __init__(self, forecaster: EngineForecaster) -> None:
        self._forecaster = forecaster
        self._seconds: dict[tuple[int, Load], float] = {}

    def seconds(self, cores: int, load: Load) -> float:
        key = cores, load
        found = self._seconds.get(key)
        if found is None:
            if len(self._seconds) >= _REMEMBERED:
                self._seconds.clear()
            found = self._seconds[key] = self._forecaster.seconds(cores, Load._make(map(float, load)))
        return found

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the forecast has
        return getattr(self._forecaster, name)
