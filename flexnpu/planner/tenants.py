# SPDX-License-Identifier: Apache-2.0
"""Several vNPUs, each with a model and targets of its own, on one device: who has how many cores.

Guaranteed cores come first. The others go where the most requests keep their next target by them: a running request
keeps its ITL, a waiting one its TTFT. How many do on so many cores is a curve per vNPU, worked out from its forecast;
the best sum over all ways to deal the cores out is found exactly, since the curves have steps. What is left over when
everybody is in time shortens queues. docs/planner.md has the equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from flexnpu.forecast.batch import Batch, Floats
from flexnpu.forecast.breakdown import Forecast
from flexnpu.forecast.load import Load
from flexnpu.planner.plan import ms
from flexnpu.planner.queue import Cost
from flexnpu.planner.snapshot import PhaseForecaster, Requests, Snapshot, SnapshotError

_LEAST_SHARE = 0.02  # of the time, what prompts get however slow decode is
_CHUNK = Load.prefill(2048, logits=0)  # how prompts speed up with cores
_SECONDS = 1e-6  # requests that a second is worth, where everybody is in time


class TenantForecaster(PhaseForecaster, Protocol):
    """Of a vNPU's model on the whole device; with the breakdown that tells how much bandwidth an iteration draws."""

    def forecast(self, cores: int, requests: Requests, beside: Forecast | None = None) -> Forecast:
        """One iteration, beside another one where that is given."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A vNPU. least: cores that it is guaranteed. most: those that it may have; None: all.

    state: what waits and runs on it, and its targets; its device_cores are not looked at. weight: of its requests.
    """

    name: str
    state: Snapshot
    forecaster: TenantForecaster
    least: int
    most: int | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Rules:
    """current: cores by vNPU now; None where there are none yet. band: part of the requests in time that a move has to
    bring beyond what is. switch_seconds: what a move costs; where no request is gained, it has to save more than that.

    fairness: 0 counts every request alike, so that a vNPU with many has the say; 1 every vNPU, by the part of its
    requests that are in time.
    """

    current: Sequence[int] | None = None
    band: float = 0.05
    switch_seconds: float = 0.005
    fairness: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.band < 1 and self.switch_seconds >= 0 and 0 <= self.fairness <= 1):
            raise SnapshotError(
                f"band {self.band}, switch_seconds {self.switch_seconds}, fairness {self.fairness}; band must be in "
                "[0, 1), fairness in [0, 1] and switch_seconds 0 or more"
            )


class Curve(NamedTuple):
    """By cores, from none: requests in time, and seconds until the queue is empty. `requests`: all there are."""

    in_time: Floats
    seconds: Floats
    requests: float


@dataclass(frozen=True, slots=True)
class Shares:
    """cores: by vNPU, in the order they were given. in_time: requests that keep their next target by that."""

    cores: tuple[int, ...]
    in_time: tuple[float, ...]
    reason: str
    alternatives: tuple[tuple[int, ...], ...] = field(default=(), compare=False)  # what this was weighed against


def share_cores(device_cores: int, tenants: Sequence[Tenant], rules: Rules | None = None) -> Shares:
    """Cores by vNPU, which together are at most the device's. Raises SnapshotError where minima are over it."""
    rules = rules or Rules()
    _check(device_cores, tenants)
    if not tenants:
        return Shares((), (), "no vNPU is on the device")
    curves = [curve(tenant, device_cores) for tenant in tenants]
    alone = _deal(device_cores, tenants, _values(tenants, curves, rules))
    slower = _contention(tenants, alone)
    if max(slower) > 1.0:
        curves = [curve(tenant, device_cores, factor) for tenant, factor in zip(tenants, slower, strict=True)]
    values = _values(tenants, curves, rules)
    best = _deal(device_cores, tenants, values)
    current = _valid(rules.current, device_cores, tenants)
    chosen, why = (best, "") if current is None else _move(current, best, curves, values, rules)
    in_time = tuple(each.in_time.item(cores) for each, cores in zip(curves, chosen, strict=True))
    total = sum(each.requests for each in curves)
    reason = (
        why
        + f"{sum(in_time):.0f} of {total:.0f} requests keep their next target: "
        + ", ".join(
            f"{tenant.name} {cores} cores ({tenant.least} guaranteed), {met:.0f} of {each.requests:.0f}"
            for tenant, cores, met, each in zip(tenants, chosen, in_time, curves, strict=True)
        )
    )
    others = tuple({way: None for way in (current, best, alone) if way is not None and way != chosen})
    return Shares(chosen, in_time, reason, others)


def curve(tenant: Tenant, device_cores: int, slower: float = 1.0) -> Curve:
    """What a vNPU does with so many cores; `slower`: by how much its neighbours' traffic lengthens its iterations."""
    state, forecaster = tenant.state, tenant.forecaster
    decode, targets = forecaster.load(state.decode), state.targets
    running = decode.decode_sequences
    limit = max(targets.itl * state.margin - state.overhead, 1e-9)
    step = forecaster.alone(decode)[: device_cores + 1] * slower if running else np.zeros(device_cores + 1)
    prompts = Batch.of(state.prefill)
    chunk = forecaster.alone(_CHUNK)[: device_cores + 1] * slower
    with np.errstate(divide="ignore", invalid="ignore"):
        keep = running * np.minimum(1.0, limit / step) if running else step
        # Prompts have the time that decode's steps leave, and on fewer cores they take longer.
        pace = np.clip(1.0 - step / limit, _LEAST_SHARE, 1.0) * (chunk[-1] / slower / chunk)
    cost = Cost.of(forecaster, device_cores)
    new, cached, copies = prompts.new, prompts.cached, prompts.copies
    work = new * (cost.token + cost.pair * (cached + 0.5 * new))
    waits = np.zeros(len(new)) if state.waits is None else np.asarray(state.waits, dtype=np.float64)
    each = copies.astype(np.intp)  # one after the other, and some of them may be in time
    in_time = keep + _prompts_in_time(work.repeat(each), targets.ttft - waits.repeat(each), pace)
    in_time[0] = 0.0
    seconds = step + float(work @ copies) / np.maximum(pace, 1e-9)
    seconds[0] = seconds[1] * 2.0
    if state.graphs and running:
        in_time, seconds = _at_graphs(state.graphs, in_time, seconds)
    return Curve(np.maximum.accumulate(in_time), np.minimum.accumulate(seconds), running + float(copies.sum()))


def _prompts_in_time(work: Floats, slack: Floats, pace: Floats) -> Floats:
    """How many are, by pace: by deadline one after the other, without those who are lost on the whole device."""
    chance = work <= slack
    work, slack = work[chance], slack[chance]
    if not len(work):
        return np.zeros(len(pace))
    order = slack.argsort(kind="stable")
    # Each needs the device at this pace from now on; who comes later by deadline waits for who comes first.
    needed = work[order].cumsum() / slack[order]
    needed.sort()
    found: Floats = needed.searchsorted(pace, side="right").astype(np.float64)
    return found


def _at_graphs(graphs: Sequence[int], in_time: Floats, seconds: Floats) -> tuple[Floats, Floats]:
    """Decode's graphs run on the core counts that they were captured at: between two, on the lower."""
    places = np.searchsorted(graphs, np.arange(len(in_time)), side="right") - 1
    at = np.where(places >= 0, np.minimum(np.asarray(graphs)[places], len(in_time) - 1), 0)
    return in_time[at], seconds[at]


def _values(tenants: Sequence[Tenant], curves: Sequence[Curve], rules: Rules) -> list[Floats]:
    """What each number of cores is worth: requests in time first, then a short queue."""
    return [
        tenant.weight * (each.in_time * max(each.requests, 1.0) ** -rules.fairness - _SECONDS * each.seconds)
        for tenant, each in zip(tenants, curves, strict=True)
    ]


def _deal(device_cores: int, tenants: Sequence[Tenant], values: Sequence[Floats]) -> tuple[int, ...]:
    """The cores with the largest sum of values, each within its bounds: exact, one vNPU after the other."""
    best = np.zeros(device_cores + 1)  # by cores dealt so far
    taken = []
    dealt, own = np.meshgrid(np.arange(device_cores + 1), np.arange(device_cores + 1), indexing="ij")
    for tenant, value in zip(tenants, values, strict=True):
        most = device_cores if tenant.most is None else min(tenant.most, device_cores)
        allowed = (own >= tenant.least) & (own <= most) & (own <= dealt)
        sums = np.where(allowed, best[np.maximum(dealt - own, 0)] + value[own], -np.inf)
        taken.append(sums.argmax(axis=1))  # of equals, the fewest cores
        best = sums.max(axis=1)
    left, cores = device_cores, []
    for choice in reversed(taken):
        cores.append(int(choice[left]))
        left -= cores[-1]
    return tuple(reversed(cores))


def _contention(tenants: Sequence[Tenant], cores: Sequence[int]) -> list[float]:
    """By how much the others' traffic lengthens each one's iteration, dealt out like that."""
    loads = [_iteration(tenant) for tenant in tenants]
    alone = [
        tenant.forecaster.forecast(count, load) if load.tokens and count else None
        for tenant, count, load in zip(tenants, cores, loads, strict=True)
    ]
    factors = []
    for place, (tenant, load, own) in enumerate(zip(tenants, loads, alone, strict=True)):
        others = [each for other, each in enumerate(alone) if each is not None and other != place]
        if own is None or not others:
            factors.append(1.0)
            continue
        beside = Forecast(
            max(each.seconds for each in others),
            (),
            sum(each.cores for each in others),
            0,
            demand=min(1.0, sum(each.demand for each in others)),
            link_demand=min(1.0, sum(each.link_demand for each in others)),
        )
        factors.append(tenant.forecaster.forecast(own.cores, load, beside).seconds / own.seconds)
    return factors


def _iteration(tenant: Tenant) -> Load:
    """What a vNPU runs next, about: its decode step, or a chunk of a prompt."""
    decode = tenant.forecaster.load(tenant.state.decode)
    return decode if decode.tokens or not tenant.state.prompts else _CHUNK


def _move(
    current: tuple[int, ...],
    best: tuple[int, ...],
    curves: Sequence[Curve],
    values: Sequence[Floats],
    rules: Rules,
) -> tuple[tuple[int, ...], str]:
    """Whether to go from one to the other, and why not."""
    if best == current:
        return current, ""

    def total(cores: Sequence[int], columns: Sequence[Floats]) -> float:
        return sum(column.item(count) for column, count in zip(columns, cores, strict=True))

    seconds = [each.seconds for each in curves]
    gain = total(best, values) - total(current, values)
    saved = total(current, seconds) - total(best, seconds)
    if gain > max(rules.band * abs(total(current, values)), _SECONDS * 1e3) or saved > rules.switch_seconds:
        return best, ""
    return current, f"a move to {'/'.join(map(str, best))} would save {ms(saved)} and gain no more than the band; "


def _valid(current: Sequence[int] | None, device_cores: int, tenants: Sequence[Tenant]) -> tuple[int, ...] | None:
    if current is None or len(current) != len(tenants) or sum(current) > device_cores:
        return None
    held = all(
        tenant.least <= cores <= (device_cores if tenant.most is None else tenant.most)
        for tenant, cores in zip(tenants, current, strict=True)
    )
    return tuple(current) if held else None


def _check(device_cores: int, tenants: Sequence[Tenant]) -> None:
    least = sum(tenant.least for tenant in tenants)
    if least > device_cores:
        raise SnapshotError(
            f"guaranteed cores of {len(tenants)} vNPUs are {least}, over the device's {device_cores}; lower one"
        )
    for tenant in tenants:
        if tenant.least < 0 or (tenant.most is not None and tenant.most < tenant.least) or not tenant.weight > 0:
            raise SnapshotError(
                f"{tenant.name}: least {tenant.least}, most {tenant.most}, weight {tenant.weight:g}; least must be 0 "
                "or more, most no less than it, and weight over 0"
            )
