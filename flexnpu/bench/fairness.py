# SPDX-License-Identifier: Apache-2.0
"""Who gets how much of a device's time, against the shares that were set; and how long a tenant that always has work is
kept from the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flexnpu.bench.figures import Array, beginnings
from flexnpu.bench.result import MODELLED, Result, Row
from flexnpu.bench.tenants import Run, Tenant, run_together, split

_US, _MS = 1e-6, 1e-3
_WINDOW_S, _STEP_S = 1.0, 0.05
MIXED = (50 * _US, 200 * _US, 1 * _MS, 5 * _MS, 20 * _MS)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Tenants side by side. Targets: points over the whole run and over any second, ms between operators, per cent of
    the time in which the device is used."""

    name: str
    tenants: tuple[Tenant, ...]
    points: float = 0.3
    points_per_second: float = 1.0
    gap_ms: float = 10.0
    in_use: float | None = None


def _equal(count: int) -> Scenario:
    tenants = (Tenant(f"t{number}", (200 * _US,), share) for number, share in enumerate(split(100, count)))
    return Scenario(f"{count} equal", tuple(tenants))


def _shares(*percents: float) -> Scenario:
    tenants = (Tenant(f"s{percent:g}", (200 * _US,), percent) for percent in percents)
    return Scenario("/".join(f"{percent:g}" for percent in percents), tuple(tenants))


SCENARIOS = (
    _shares(10, 20, 30, 40),
    _shares(25, 75),
    *(_equal(count) for count in (2, 4, 8, 16)),
    Scenario(
        "mixed operators",
        (
            Tenant("us50", (50 * _US,), 25),
            Tenant("ms1", (1 * _MS,), 25),
            Tenant("ms20", (20 * _MS,), 25),
            Tenant("mixed", MIXED, 25),
        ),
    ),
    Scenario(
        "bursts and idlers",
        (
            Tenant("steady40", (200 * _US,), 40),
            Tenant("steady20", (1 * _MS,), 20),
            Tenant("bursts", (500 * _US,), 30, busy=0.15, idle=0.35),
            Tenant("idler", (200 * _US,), 10, every=0.1),
        ),
    ),
    Scenario("fixed alone", (Tenant("fixed30", (200 * _US,), 30, fixed=True),)),
    Scenario("elastic alone", (Tenant("elastic30", (200 * _US,), 30),), in_use=99.0),
)


def run(seconds: float = 10.0, only: str | None = None, *, governed: bool = True) -> Result:
    """So long per scenario; not governed: what the device itself makes of the same tenants."""
    wanted = [each for each in SCENARIOS if only is None or only in each.name]
    found: list[Row] = []
    for scenario in wanted:
        found += rows(scenario, run_together(scenario.tenants, seconds, governed=governed))
    return Result("fairness", MODELLED, seconds, tuple(found), {"governed": governed})


def rows(scenario: Scenario, ran: Run) -> list[Row]:
    """Shares over all and over any second, gaps, and how much of the time the device is used.

    A share is of the device time that those who always want it use together; a fixed one is of the time that passes.
    """
    wanting = [tenant for tenant in scenario.tenants if tenant.always_wants]
    shares = {name: _whole(ran, name) for name in ran.traces}
    whole = _off(wanting, shares)
    windows = _off(wanting, {name: _windows(ran, name) for name in ran.traces})
    gaps = {tenant.name: _Gaps.of(scenario, ran, tenant.name) for tenant in wanting if not tenant.fixed}
    used = {name: 100 * float(share[0]) for name, share in shares.items()}
    passing = {"percent": {name: round(share, 3) for name, share in used.items()}}
    return [
        Row(f"{scenario.name}: off its share", _most(whole), "points", scenario.points, more=passing),
        Row(
            f"{scenario.name}: off its share in any second",
            _most(windows),
            "points",
            scenario.points_per_second,
            more={"points": {name: float(np.max(off, initial=0.0)) for name, off in windows.items()}},
        ),
        Row(
            f"{scenario.name}: longest gap beyond the running operator",
            max((each.longest for each in gaps.values()), default=0.0),
            "ms",
            scenario.gap_ms,
            more={"longest_ms": {name: each.longest for name, each in gaps.items()}},
        ),
        Row(
            f"{scenario.name}: of a gap, the most that others had the device for",
            max((each.others for each in gaps.values()), default=0.0),
            "ms",
            scenario.gap_ms,
            more={"others_ms": {name: each.others for name, each in gaps.items()}},
        ),
        *_spared_rows(scenario, ran, windows, gaps),
        Row(f"{scenario.name}: device in use", sum(used.values()), "%", scenario.in_use, at_least=True),
        Row(f"{scenario.name}: longest stall of an idle thread of the host", 1e3 * ran.stalls.longest_s, "ms"),
    ]


def _spared_rows(scenario: Scenario, ran: Run, windows: Mapping[str, Array], gaps: Mapping[str, _Gaps]) -> list[Row]:
    """The same of those seconds that no stall of the host has touched, none where all are; and of gaps less the stalls
    that lie in them."""
    firsts = beginnings(ran.start, ran.end, _WINDOW_S, _STEP_S)
    spared = ran.spared(firsts, firsts + _WINDOW_S)
    found = []
    if spared.any() and windows:
        found.append(
            Row(
                f"{scenario.name}: off its share in any second without a stall of the host",
                _most({name: off[spared] for name, off in windows.items()}),
                "points",
                scenario.points_per_second,
                more={"seconds_percent": 100 * float(spared.mean())},
            )
        )
    if gaps:
        found.append(
            Row(
                f"{scenario.name}: longest gap less the host's stalls",
                max(each.less for each in gaps.values()),
                "ms",
                scenario.gap_ms,
                more={"less_ms": {name: each.less for name, each in gaps.items()}},
            )
        )
    return found


def _off(wanting: Sequence[Tenant], shares: Mapping[str, Array]) -> dict[str, Array]:
    """Points between what each that always wants the device had and what it is owed, by window.

    shares: of the time that passes, by window. Elastic tenants divide what they had together; where the device was
    idle, or one that works now and then had it, there was nothing to divide.
    """
    elastic = [tenant for tenant in wanting if not tenant.fixed]
    together = sum((shares[tenant.name] for tenant in elastic), np.zeros(1))
    weight = sum(_weight(tenant) for tenant in elastic)
    owed = {tenant.name: together * _weight(tenant) / weight for tenant in elastic}
    owed |= {tenant.name: np.array([_weight(tenant) / 100]) for tenant in wanting if tenant.fixed}
    return {name: 100 * np.abs(shares[name] - each) for name, each in owed.items()}


def _weight(tenant: Tenant) -> float:
    return tenant.share or 1.0


def _most(off: Mapping[str, Array]) -> float:
    return max((float(np.max(each, initial=0.0)) for each in off.values()), default=0.0)


def _whole(ran: Run, name: str) -> Array:
    return np.array([ran.traces[name].busy.within(ran.start, ran.end) / (ran.end - ran.start)])


def _windows(ran: Run, name: str) -> Array:
    return ran.traces[name].busy.shares(ran.start, ran.end, _WINDOW_S, _STEP_S)


@dataclass(frozen=True, slots=True)
class _Gaps:
    """Between two operators of a tenant, ms beyond what one operator of another takes: the longest, the most of
    one that others had (the rest of it the device was idle, since a host thread that was to launch did not run), and
    the longest less the time in it in which the host stalled.
    """

    longest: float
    others: float
    less: float

    @classmethod
    def of(cls, scenario: Scenario, ran: Run, name: str) -> _Gaps:
        operators = [max(tenant.operators) for tenant in scenario.tenants if tenant.name != name]
        due = max(operators, default=0.0) + _own_pause(scenario, name)
        ends, starts = ran.traces[name].busy.between(ran.start, ran.end)
        beside = [each.busy for other, each in ran.traces.items() if other != name]
        had = sum((busy.until(starts) - busy.until(ends) for busy in beside), np.zeros(ends.size))
        gaps = (starts - ends, had, starts - ends - ran.stalled(ends, starts))
        return cls(*(1e3 * max(0.0, float(np.max(each, initial=0.0)) - due) for each in gaps))


def _own_pause(scenario: Scenario, name: str) -> float:
    """After an operator that is longer than its part of a round, a tenant pauses until the others have had theirs."""
    own = next(tenant for tenant in scenario.tenants if tenant.name == name)
    pause = max(own.operators) * (100 / (own.share or 100) - 1)
    return pause if pause * 1e3 > scenario.gap_ms else 0.0
