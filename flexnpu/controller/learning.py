# SPDX-License-Identifier: Apache-2.0
"""Forecast against what came: a bounded correction of decode's forecast, and the outcome of each decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flexnpu.controller.decision import Outcome, ServicePlan
from flexnpu.controller.engines import Progress
from flexnpu.forecast import Forecaster, Request
from flexnpu.forecast.batch import Batch, Floats
from flexnpu.forecast.breakdown import Forecast
from flexnpu.forecast.load import Load
from flexnpu.planner.snapshot import Requests

# One observation moves the correction by a tenth of what it missed. The bounds keep an engine that is slow for another
# reason than its cores (its host, say) from drawing all of them.
_WEIGHT, _LEAST, _MOST = 0.1, 0.67, 1.5


@dataclass(slots=True)
class Corrected:
    """A forecaster whose decode times are scaled by what observation has taught. The planner sees only this."""

    forecaster: Forecaster
    decode: float = 1.0

    def load(self, requests: Batch | Sequence[Request] | Load) -> Load:
        return self.forecaster.load(requests)

    def seconds(self, cores: int, load: Load) -> float:
        return self.forecaster.seconds(cores, load) * (1.0 if load.prefill_tokens else self.decode)

    def alone(self, requests: Sequence[Request] | Load) -> Floats:
        load = self.forecaster.load(requests)
        return self.forecaster.alone(load) * (1.0 if load.prefill_tokens else self.decode)

    def split(
        self, prefill: Sequence[Request] | Load, decode: Sequence[Request] | Load, cores: int
    ) -> tuple[Floats, Floats]:
        prefill_seconds, decode_seconds = self.forecaster.split(prefill, decode, cores)
        return prefill_seconds, decode_seconds * self.decode

    def beside(self, prefill_cores: int, prefill: Load, decode_cores: int, decode: Load) -> tuple[float, float]:
        prefill_seconds, decode_seconds = self.forecaster.beside(prefill_cores, prefill, decode_cores, decode)
        return prefill_seconds, decode_seconds * self.decode

    def forecast(self, cores: int, requests: Requests, beside: Forecast | None = None) -> Forecast:
        """Uncorrected: what an iteration draws of the device, for those beside it."""
        return self.forecaster.forecast(cores, requests, beside)

    def learn(self, observed: float, forecast: float) -> None:
        """An iteration forecast (with the correction of then) at `forecast` took `observed`."""
        wanted = self.decode * observed / forecast
        self.decode = min(_MOST, max(_LEAST, self.decode + _WEIGHT * (wanted - self.decode)))


@dataclass(slots=True)
class Episode:
    """What comes to a service while one decision holds. at: when it was made; plan: with the newest forecast."""

    number: int
    at: float
    plan: ServicePlan
    turns: int = 1
    decode_tokens: float = 0.0
    decode_observed: float = 0.0  # summed over tokens
    decode_forecast: float = 0.0
    prefill_tokens: float = 0.0
    prefill_seconds: float = 0.0

    def goes_on(self, plan: ServicePlan) -> None:
        """Another turn decided the same."""
        self.turns += 1
        self.plan = replace(self.plan, forecast=plan.forecast)

    def observe(self, prefill: Progress, decode: Progress, *, turn: float, expected: float) -> float | None:
        """Add what the last turn brought; returns decode's observed gap, in device seconds, if there was one. expected:
        what was forecast for it; 0: nothing."""
        if prefill.busy:
            self.prefill_tokens += prefill.prompt_tokens
            self.prefill_seconds += turn
        if decode.gaps < 1 or decode.gap_seconds <= 0 or expected <= 0:
            return None
        self.decode_tokens += decode.gaps
        self.decode_observed += decode.gap_seconds
        self.decode_forecast += expected * decode.gaps
        return decode.gap_seconds / decode.gaps

    def outcome(self, at: float, correction: float) -> Outcome:
        tokens, forecast = self.decode_tokens, self.plan.forecast
        queue = self.plan.inputs.get("prefill_tokens")
        planned = forecast.prefill_seconds if forecast else 0.0
        rate = queue / planned if isinstance(queue, int) and queue and planned > 0 else None
        return Outcome(
            decision=self.number,
            service=self.plan.service,
            held_seconds=at - self.at,
            turns=self.turns,
            decode_forecast_seconds=self.decode_forecast / tokens if tokens else None,
            decode_observed_seconds=self.decode_observed / tokens if tokens else None,
            decode_tokens=round(tokens),
            prefill_forecast_tokens_per_second=rate,
            prefill_observed_tokens_per_second=(
                self.prefill_tokens / self.prefill_seconds if self.prefill_seconds > 0 else None
            ),
            decode_correction=correction,
        )
