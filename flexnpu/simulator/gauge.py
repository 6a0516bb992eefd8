# SPDX-License-Identifier: Apache-2.0
"""A coarse measure of how long an iteration takes, linear and quick, to tell states apart. No time is taken from it."""

from __future__ import annotations

from typing import NamedTuple

from flexnpu.forecast.load import Load
from flexnpu.simulator.forecast import EngineForecaster

_MANY, _LONG = 64, 1 << 17  # sequences and keys that the slopes are taken between


class Gauge(NamedTuple):
    """Seconds on the whole device: a constant and slopes."""

    step: float  # a decode step of one short request
    per_sequence: float
    per_key: float
    per_token: float  # of a prompt
    per_pair: float
    launch: float  # a prefill iteration of one token

    @classmethod
    def of(cls, forecaster: EngineForecaster, budget: int) -> Gauge:
        cores = forecaster.cores
        step = forecaster.seconds(cores, Load.decode(1, 1))
        many = forecaster.seconds(cores, Load.decode(_MANY, _MANY))
        long = forecaster.seconds(cores, Load.decode(_MANY, _LONG))
        launch = forecaster.seconds(cores, Load.prefill(2))
        whole = forecaster.seconds(cores, Load.prefill(budget))
        far = forecaster.seconds(cores, Load.prefill(budget, _LONG))
        return cls(
            step,
            (many - step) / _MANY,
            (long - many) / _LONG,
            (whole - launch) / budget,
            (far - whole) / (budget * _LONG),
            launch,
        )

    def decode(self, sequences: int, seen: int) -> float:
        return self.step + self.per_sequence * sequences + self.per_key * seen

    def prefill(self, tokens: int, pairs: float) -> float:
        return self.launch + self.per_token * tokens + self.per_pair * pairs
