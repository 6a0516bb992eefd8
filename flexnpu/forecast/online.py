# SPDX-License-Identifier: Apache-2.0
"""A forecast that learns from iterations as they come: factors of what time is made of, by a Kalman filter.

An iteration is forecast as a sum of parts, each slowed by its factor: sum_k exp(theta_k) s_k, for shares s_k of the
forecast. What is observed corrects theta (an extended Kalman filter on the logarithm of the ratio). Uncertainty grows
only in the direction that an observation excites (directional forgetting: Kulhavy 1987; Cao and Schwartz 2000), so
that a thousand decode iterations teach nothing about prefill and take nothing of it away. An outlier moves the factors
no further than three standard deviations; several of one sign in a row are believed to be the device.

Pure: `Learner.after` returns the next state. `Recalibrated` keeps one, for those who forecast.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from flexnpu.errors import InvalidValue
from flexnpu.forecast.batch import Floats
from flexnpu.forecast.breakdown import Forecast
from flexnpu.forecast.forecaster import Requests
from flexnpu.forecast.load import Load

# What has a factor of its own: products by what bounds them, attention by phase, everything else.
PARTS = ("compute", "bandwidth", "context_attention", "generation_attention", "elementwise")
_BY_NAME = {
    "prefill_attention": "context_attention",
    "decode_attention": "generation_attention",
    "elementwise": "elementwise",
}


@dataclass(frozen=True, slots=True)
class Learning:
    """How it learns: relative standard deviations."""

    doubt: float = 0.4  # of a factor before anything was observed
    noise: float = 0.05  # of an observation
    drift: float = 0.01  # of a factor per observation that excites it
    clip: float = 3.0  # standard deviations that one observation may miss by before it is bounded
    streak: int = 4  # bounded observations of one sign in a row that are believed
    bound: float = 4.0  # a factor stays within this of 1, either way

    def __post_init__(self) -> None:
        for name in ("doubt", "noise", "drift", "clip"):
            value = getattr(self, name)
            if not 0.0 < value < 100.0:
                raise InvalidValue(f"{name} {value} is out of range", next_step="give a number over 0, such as 0.05")
        if self.bound <= 1.0 or self.streak < 1:
            raise InvalidValue(
                f"bound {self.bound} and streak {self.streak}", next_step="give bound over 1, streak from 1"
            )


def _nothing_known() -> Floats:
    return np.zeros(len(PARTS))


@dataclass(frozen=True, eq=False, slots=True)
class Learner:
    """Factors' logarithms and their covariance; how many observations in a row were bounded on one side."""

    learning: Learning = field(default_factory=Learning)
    theta: Floats = field(default_factory=_nothing_known)
    covariance: Floats | None = None
    missed: int = 0
    observed: int = 0

    @property
    def factors(self) -> dict[str, float]:
        return dict(zip(PARTS, np.exp(self.theta).tolist(), strict=True))

    def factor(self, shares: Floats) -> float:
        """Of an iteration with these shares of the forecast."""
        return float(shares @ np.exp(self.theta))

    def deviation(self, shares: Floats) -> float:
        """Relative standard deviation of that factor."""
        slope = self._slope(shares)
        return float(np.sqrt(slope @ self._doubts() @ slope))

    def after(self, shares: Floats, observed: float, forecast: float) -> Learner:
        """What is known once an iteration took `observed` seconds whose uncorrected forecast was `forecast`."""
        if not (np.isfinite(observed) and observed > 0 and forecast > 0):
            return self
        learning, slope = self.learning, self._slope(shares)
        doubts = self._inflated(slope)
        miss = float(np.log(observed / forecast) - np.log(self.factor(shares)))
        variance = float(slope @ doubts @ slope) + learning.noise**2
        limit = learning.clip * float(np.sqrt(variance))
        missed = 0
        if abs(miss) > limit:
            sign = 1 if miss > 0 else -1
            missed = sign + (self.missed if self.missed * sign > 0 else 0)
            if abs(missed) >= learning.streak:
                # Not chance any more: what is known along this direction is doubted as much as it is off.
                doubts = doubts + np.outer(slope, slope) * (miss**2 / float(slope @ slope) ** 2)
                variance = float(slope @ doubts @ slope) + learning.noise**2
            else:
                miss = limit * sign
        gain = doubts @ slope / variance
        most = float(np.log(learning.bound))
        kept = np.eye(len(PARTS)) - np.outer(gain, slope)
        # Joseph's form stays symmetric and positive whatever is rounded.
        doubts = kept @ doubts @ kept.T + learning.noise**2 * np.outer(gain, gain)
        theta = np.clip(self.theta + gain * miss, -most, most)
        return replace(self, theta=theta, covariance=doubts, missed=missed, observed=self.observed + 1)

    def _slope(self, shares: Floats) -> Floats:
        parts = shares * np.exp(self.theta)
        slope: Floats = parts / parts.sum()
        return slope

    def _doubts(self) -> Floats:
        if self.covariance is not None:
            return self.covariance
        return np.eye(len(PARTS)) * self.learning.doubt**2

    def _inflated(self, slope: Floats) -> Floats:
        """Doubt grows along what is excited, and never beyond what there was at the start."""
        doubts, length = self._doubts(), float(slope @ slope)
        now = float(slope @ doubts @ slope) / length
        grown = min(self.learning.drift**2, max(0.0, self.learning.doubt**2 - now))
        return doubts + np.outer(slope, slope) * (grown / length)


def shares_of(forecast: Forecast) -> Floats:
    """Shares of an iteration's time by PARTS."""
    shares = np.zeros(len(PARTS))
    for part in forecast.parts:
        shares[PARTS.index(_part(part.name, part.bound))] += part.seconds
    total = float(shares.sum())
    return shares / total if total > 0 else np.full(len(PARTS), 1.0 / len(PARTS))


class Forecasting(Protocol):
    """What is corrected; flexnpu.forecast.Forecaster is one."""

    cores: int

    def load(self, requests: Requests) -> Load: ...
    def seconds(self, cores: int, load: Load) -> float: ...
    def alone(self, requests: Requests) -> Floats: ...
    def split(self, prefill: Requests, decode: Requests, cores: int | None = None) -> tuple[Floats, Floats]: ...
    def beside(
        self, prefill_cores: int, prefill: Requests, decode_cores: int, decode: Requests
    ) -> tuple[float, float]: ...
    def steps(self, cores: int, load: Requests, count: int) -> Floats: ...
    def forecast(self, cores: int, requests: Requests, beside: Forecast | None = None) -> Forecast: ...


class Recalibrated:
    """A forecaster whose answers carry what was learnt. Not for two threads at once: the learner is replaced."""

    def __init__(self, forecaster: Forecasting, learner: Learner | None = None) -> None:
        self.forecaster, self.learner = forecaster, learner or Learner()

    @property
    def cores(self) -> int:
        return self.forecaster.cores

    def observe(self, cores: int, requests: Requests, seconds: float) -> None:
        """An iteration of those requests took so long on so many cores, alone."""
        forecast = self.forecaster.forecast(cores, requests)
        if forecast.seconds > 0:
            self.learner = self.learner.after(shares_of(forecast), seconds, forecast.seconds)

    def load(self, requests: Requests) -> Load:
        return self.forecaster.load(requests)

    def seconds(self, cores: int, load: Load) -> float:
        return self.forecaster.seconds(cores, load) * self._factor(cores, load)

    def alone(self, requests: Requests) -> Floats:
        load = self.load(requests)
        return self.forecaster.alone(load) * self._factor(self.cores, load)

    def split(self, prefill: Requests, decode: Requests, cores: int | None = None) -> tuple[Floats, Floats]:
        first, second = self.load(prefill), self.load(decode)
        one, two = self.forecaster.split(first, second, cores)
        half = max(1, (cores or self.cores) // 2)
        return one * self._factor(half, first), two * self._factor(half, second)

    def beside(self, prefill_cores: int, prefill: Requests, decode_cores: int, decode: Requests) -> tuple[float, float]:
        first, second = self.load(prefill), self.load(decode)
        one, two = self.forecaster.beside(prefill_cores, first, decode_cores, second)
        return one * self._factor(prefill_cores, first), two * self._factor(decode_cores, second)

    def steps(self, cores: int, load: Requests, count: int) -> Floats:
        start = self.load(load)
        return self.forecaster.steps(cores, start, count) * self._factor(cores, start)

    def forecast(self, cores: int, requests: Requests, beside: Forecast | None = None) -> Forecast:
        """With the learner's doubt in its uncertainty where observations have narrowed it."""
        found = self.forecaster.forecast(cores, requests, beside)
        if not found.parts:
            return found
        shares = shares_of(found)
        factors = self.learner.factors
        parts = tuple(
            part._replace(seconds=part.seconds * factors[_part(part.name, part.bound)]) for part in found.parts
        )
        doubt = self.learner.deviation(shares) if self.learner.observed else found.uncertainty
        return found._replace(
            seconds=found.seconds * self.learner.factor(shares),
            parts=parts,
            uncertainty=min(found.uncertainty, doubt) if found.uncertainty else doubt,
        )

    def _factor(self, cores: int, load: Load) -> float:
        if not load.tokens or not self.learner.observed:
            return 1.0
        return self.learner.factor(shares_of(self.forecaster.forecast(cores, load)))


def _part(name: str, bound: str) -> str:
    return _BY_NAME.get(name, "compute" if bound == "compute" else "bandwidth")


__all__ = ["PARTS", "Learner", "Learning", "Recalibrated", "shares_of"]
