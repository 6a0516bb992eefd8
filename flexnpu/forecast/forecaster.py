# SPDX-License-Identifier: Apache-2.0
"""The roofline: an operator costs max(F/P(cores), B/W(cores)) plus a constant; phases side by side share bandwidth.

Pure functions of their arguments. A Forecaster is a model on a device, with what depends on neither batch nor split
worked out once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from flexnpu.forecast.batch import Batch, Floats, ForecastError, Request
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.workload import OPERATORS, Workload
from flexnpu.hardware import Soc
from flexnpu.llm import ModelShape

_NO_WORK = 1e-300  # keeps a division that np.where throws away from warning


@dataclass(frozen=True, slots=True)
class Forecast:
    """One iteration on a number of cores. Demands and shares say how it draws on bandwidth, for what runs beside it."""

    seconds: float
    by_operator: Mapping[str, float]
    bound_by: Mapping[str, str]  # compute, bandwidth or launch: what most of the operator's time goes to
    cores: int
    tokens: int
    demands: tuple[float, ...]  # bytes per second while that part runs
    shares: tuple[float, ...]  # part of the iteration's time

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


class Forecaster:
    """Forecasts for one model on one device."""

    def __init__(self, model: ModelShape, soc: Soc, profile: Profile | None = None) -> None:
        self.model, self.soc, self.profile = model, soc, profile or Profile()
        share = np.arange(1, soc.cube_cores + 1) / soc.cube_cores
        self._compute: Floats = self.profile.compute(soc.peak_flops, share)[:, None]
        self._bandwidth: Floats = self.profile.bandwidth(soc.hbm_bandwidth, share)[:, None]
        self._bandwidth_cap = float(self._bandwidth[-1, 0])

    @property
    def cores(self) -> int:
        return self.soc.cube_cores

    def workload(self, requests: Iterable[Request] | Batch) -> Workload:
        return Workload.of(self.model, Batch.of(requests), self.profile)

    def alone(self, requests: Iterable[Request] | Batch) -> Floats:
        """Seconds of the iteration by cores; index 0 is no cores and infinite."""
        work = self.workload(requests)
        return np.append(np.inf, self._work_seconds(work).sum(axis=1) + work.fixed.sum())

    def split(
        self, prefill: Iterable[Request] | Batch, decode: Iterable[Request] | Batch, cores: int | None = None
    ) -> tuple[Floats, Floats]:
        """Seconds of both phases side by side, by decode's cores; prefill has the rest of `cores` (default: all)."""
        total = self.cores if cores is None else cores
        works = self.workload(prefill), self.workload(decode)
        full = [self._work_seconds(work)[:total] for work in works]
        # Row i: decode on i + 1 cores, prefill on the rest.
        solo = full[0][-2::-1], full[1][:-1]
        draws = _draw(works[1], solo[1]), _draw(works[0], solo[0])
        beside = [
            self._contended(work, seconds, draw).sum(axis=1)
            for work, seconds, draw in zip(works, solo, draws, strict=True)
        ]
        whole = [seconds[-1].sum() + work.fixed.sum() for work, seconds in zip(works, full, strict=True)]
        return np.array([whole[0], *beside[0], np.inf]), np.array([np.inf, *beside[1], whole[1]])

    def forecast(self, cores: int, requests: Iterable[Request] | Batch, beside: Forecast | None = None) -> Forecast:
        """One iteration of `requests` on `cores`, while the iteration `beside` (forecast alone) runs on other cores."""
        if not 1 <= cores <= self.cores or cores != int(cores):
            raise ForecastError(f"cores is {cores}; {self.soc.name} has 1 to {self.cores}")
        if beside is not None and cores + beside.cores > self.cores:
            raise ForecastError(f"{cores} cores beside {beside.cores}; {self.soc.name} has {self.cores} in all")
        batch = Batch.of(requests)
        work = self.workload(batch)
        solo = self._work_seconds(work)[cores - 1 : cores]
        times = solo + work.fixed
        if beside is not None and beside.seconds > 0:
            times = self._contended(work, solo, (np.array([beside.demands]), np.array([beside.shares])))
        demands, shares = _draw(work, solo)
        return Forecast(
            seconds=float(times.sum()),
            by_operator=dict(zip(OPERATORS, times[0].tolist(), strict=True)),
            bound_by=self._bounds(work, cores, times[0]),
            cores=cores,
            tokens=int(batch.tokens),
            demands=tuple(demands[0].tolist()),
            shares=tuple(shares[0].tolist()),
        )

    def _work_seconds(self, work: Workload) -> Floats:
        """Seconds by cores (row 0 is one core) and operator, launches aside."""
        return np.maximum(work.flops / self._compute, work.bytes / self._bandwidth)

    def _contended(self, work: Workload, solo: Floats, draw: tuple[Floats, Floats]) -> Floats:
        """Seconds by split and operator when what runs beside draws on bandwidth.

        Max-min fairness between two: the other takes its demand, but never leaves less than half. While part j of
        the other runs, an operator would take max(solo, bytes / left_j); it meets the parts in proportion to their
        time.
        """
        demands, shares = draw
        left = np.maximum(self._bandwidth_cap - demands, self._bandwidth_cap / 2)
        slowed = np.maximum(solo[:, :, None], work.bytes[None, :, None] / left[:, None, :])
        progress = (shares[:, None, :] / np.maximum(slowed, _NO_WORK)).sum(axis=2)
        idle = shares.sum(axis=1, keepdims=True) == 0.0  # nothing runs beside
        return np.where(idle | (solo == 0.0), solo, 1.0 / np.maximum(progress, _NO_WORK)) + work.fixed

    def _bounds(self, work: Workload, cores: int, times: Floats) -> dict[str, str]:
        compute = work.flops / self._compute[cores - 1]
        bandwidth = times - work.fixed
        names = np.where(compute >= bandwidth * (1 - 1e-9), "compute", "bandwidth")
        names = np.where(work.fixed > bandwidth, "launch", names)
        return dict(zip(OPERATORS, names.tolist(), strict=True))


def _draw(work: Workload, solo: Floats) -> tuple[Floats, Floats]:
    """Bandwidth demands and time shares of the parts: each operator, and the launches, which draw nothing."""
    demands = np.divide(work.bytes, solo, out=np.zeros_like(solo), where=solo > 0)
    fixed = np.full((len(solo), 1), work.fixed.sum())
    parts = np.hstack([solo, fixed])
    total = parts.sum(axis=1, keepdims=True)
    shares = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    return np.hstack([demands, np.zeros_like(fixed)]), shares


def forecast(
    model: ModelShape, soc: Soc, cores: int, requests: Iterable[Request] | Batch, beside: Forecast | None = None
) -> Forecast:
    """One iteration with the published constants; a Forecaster is quicker for many questions about one model."""
    return Forecaster(model, soc).forecast(cores, requests, beside)
