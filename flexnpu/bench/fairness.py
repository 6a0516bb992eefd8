# SPDX-License-Identifier: Apache-2.0
"""Who gets how much of a device's time, against the shares that were set; and how long a tenant that always has work is
kept from the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flexnpu.bench.result import MODELLED, Result, Row
from flexnpu.bench.tenants import Run, Tenant, run_together, split

_US, _MS = 1e-6, 1e-3
_WINDOW_S, _STEP_S = 1.0, 0.05
MIXED = (50 * _US, 200 * _US, 1 * _MS, 5 * _MS, 20 * _MS)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Tenants side by side. Targets: points over the whole run and over any second, ms between operators."""

    name: str
    tenants: tuple[Tenant, ...]
    points: float = 0.3
    points_per_second: float = 1.0
    gap_ms: float = 10.0


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
    Scenario("elastic alone", (Tenant("elastic30", (200 * _US,), 30),), points=1.0),
)


def run(seconds: float = 10.0, only: str | None = None, *, governed: bool = True) -> Result:
    """So long per scenario; not governed: what the device itself makes of the same tenants."""
    wanted = [each for each in SCENARIOS if only is None or only in each.name]
    found: list[Row] = []
    for scenario in wanted:
        found += rows(scenario, run_together(scenario.tenants, seconds, governed=governed))
    return Result("fairness", MODELLED, seconds, tuple(found), {"governed": governed})


def rows(scenario: Scenario, ran: Run) -> list[Row]:
    """Three of a scenario: shares over all, shares over any second, gaps."""
    expected = expected_shares(scenario.tenants, ran)
    shares = {name: whole_share(ran, name) for name in ran.traces}
    off = {name: 100 * abs(shares[name] - share) for name, share in expected.items()}
    per_second = {name: _worst_second(ran, name, share) for name, share in expected.items()}
    gaps = {name: _gaps_ms(scenario, ran, name) for name in expected}
    device = {name: round(100 * share, 3) for name, share in shares.items()}
    quotas = {name: round(100 * share, 3) for name, share in expected.items()}
    in_use = {"percent_in_use": round(100 * sum(shares.values()), 2)}
    worst_gap = {name: max(each, default=0.0) for name, each in gaps.items()}
    held_back = [tenant.name for tenant in scenario.tenants if tenant.fixed]  # its gaps are its share
    return [
        Row(
            f"{scenario.name}: off its share",
            max(off.values()),
            "points",
            scenario.points,
            more={"percent": device, "expected_percent": quotas, **in_use},
        ),
        Row(
            f"{scenario.name}: off its share in any second",
            max(per_second.values()),
            "points",
            scenario.points_per_second,
            more={"points": per_second},
        ),
        Row(
            f"{scenario.name}: longest gap beyond the running operator",
            max((gap for name, gap in worst_gap.items() if name not in held_back), default=0.0),
            "ms",
            scenario.gap_ms,
            more={"longest_ms": worst_gap},
        ),
    ]


def whole_share(ran: Run, name: str) -> float:
    return ran.traces[name].busy.within(ran.start, ran.end) / (ran.end - ran.start)


def expected_shares(tenants: Sequence[Tenant], ran: Run) -> Mapping[str, float]:
    """Of those that always want the device: a fixed share is that; elastic ones share, by theirs, what others leave."""
    left = 1.0
    elastic: list[Tenant] = []
    expected: dict[str, float] = {}
    for tenant in tenants:
        if tenant.always_wants and tenant.fixed:
            expected[tenant.name] = (tenant.share or 0) / 100
            left -= expected[tenant.name]
        elif tenant.always_wants:
            elastic.append(tenant)
        else:
            left -= whole_share(ran, tenant.name)
    weight = sum(tenant.share or 1.0 for tenant in elastic)
    return expected | {tenant.name: left * (tenant.share or 1.0) / weight for tenant in elastic}


def _worst_second(ran: Run, name: str, expected: float) -> float:
    if ran.end - ran.start < _WINDOW_S:
        return 0.0
    off = ran.traces[name].busy.shares(ran.start, ran.end, _WINDOW_S, _STEP_S) - expected
    return float(100 * np.abs(off).max())


def _own_pause(scenario: Scenario, name: str) -> float:
    """After an operator that is longer than its part of a round, a tenant pauses until the others have had theirs."""
    own = next(tenant for tenant in scenario.tenants if tenant.name == name)
    pause = max(own.operators) * (100 / (own.share or 100) - 1)
    return pause if pause * 1e3 > scenario.gap_ms else 0.0


def _gaps_ms(scenario: Scenario, ran: Run, name: str) -> Iterable[float]:
    others = [max(tenant.operators) for tenant in scenario.tenants if tenant.name != name]
    longest = max(others, default=0.0) + _own_pause(scenario, name)
    return [max(0.0, gap - longest) * 1e3 for gap in ran.traces[name].busy.gaps(ran.start, ran.end)]
