# SPDX-License-Identifier: Apache-2.0
"""How long a latency-critical tenant waits beside best-effort ones: its operator's wait beyond the longest of
theirs, and beyond the one that was running when it was asked for, in device time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexnpu.bench.figures import Array, Spread, histogram
from flexnpu.bench.result import MODELLED, Result, Row
from flexnpu.bench.tenants import Run, Tenant, run_together, split

_US, _MS = 1e-6, 1e-3
TARGET_US = 100.0
EDGES_US = (0, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000)
CRITICAL = "critical"
_CRITICAL_SHARE = 20
_PERIOD_S = 0.0073  # no multiple of what the others do
_OPERATOR_S = 200 * _US


@dataclass(frozen=True, slots=True)
class Mix:
    """What the best-effort tenants run."""

    name: str
    operators: tuple[tuple[float, ...], ...]  # a tenant each

    @property
    def longest(self) -> float:
        return max(map(max, self.operators))


MIXES = (
    Mix("operators of 50 us", ((50 * _US,), (50 * _US,))),
    Mix("operators of 1 ms", ((1 * _MS,), (1 * _MS,))),
    Mix("operators of 20 ms", ((20 * _MS,), (20 * _MS,))),
    Mix("operators of 50 us to 20 ms", ((50 * _US, 20 * _MS), (200 * _US, 1 * _MS), (5 * _MS,))),
)


def run(seconds: float = 10.0, only: str | None = None, *, governed: bool = True) -> Result:
    """So long per mix; not governed: what the device itself makes of the same tenants."""
    found: list[Row] = []
    for mix in (each for each in MIXES if only is None or only in each.name):
        found += rows(mix, run_together(tenants_of(mix), seconds, governed=governed))
    return Result("latency", MODELLED, seconds, tuple(found), {"governed": governed})


def tenants_of(mix: Mix) -> list[Tenant]:
    shares = split(100 - _CRITICAL_SHARE, len(mix.operators))
    efforts = enumerate(zip(mix.operators, shares, strict=True))
    others = [Tenant(f"effort{i}", operators, share) for i, (operators, share) in efforts]
    return [Tenant(CRITICAL, (_OPERATOR_S,), _CRITICAL_SHARE, priority=1, every=_PERIOD_S), *others]


def rows(mix: Mix, ran: Run) -> list[Row]:
    """Beyond the longest operator of the others, which is the promise; and beyond the one that ran when it was
    asked for, with the distributions.
    """
    waits, beyond = waited_us(ran)
    longest = np.maximum(0.0, waits - mix.longest * 1e6)
    promised, strict = Spread.of(longest), Spread.of(beyond)
    more = {"spread_us": promised, "histogram_us": _histogram(longest), "whole_wait_us": Spread.of(waits)}
    return [
        Row(f"{mix.name}: wait beyond the longest operator, p50", promised.median, "us", TARGET_US),
        Row(f"{mix.name}: wait beyond the longest operator, p99", promised.p99, "us", TARGET_US, more=more),
        Row(
            f"{mix.name}: wait beyond the running operator, p99",
            strict.p99,
            "us",
            more={"spread_us": strict, "histogram_us": _histogram(beyond)},
        ),
        Row(f"{mix.name}: longest stall of an idle thread of the host", 1e6 * ran.stalls.longest_s, "us"),
    ]


def _histogram(samples: Array) -> dict[str, object]:
    return {"at_most": list(EDGES_US), "counts": histogram(samples, EDGES_US)}


def waited_us(ran: Run, who: str = CRITICAL) -> tuple[Array, Array]:
    """Of each step of a tenant: from asking to its first operator's start, and that less what was running."""
    critical = ran.traces[who]
    asked = critical.asked
    counts = (asked >= ran.start) & (asked < ran.end)
    running = np.zeros(asked.size)
    for name, trace in ran.traces.items():
        if name != who:
            running = np.maximum(running, trace.busy.running_at(asked))
    waits = np.maximum(0.0, critical.busy.starts - asked)
    return waits[counts] * 1e6, np.maximum(0.0, waits - running)[counts] * 1e6
