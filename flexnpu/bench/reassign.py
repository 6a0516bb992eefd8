# SPDX-License-Identifier: Apache-2.0
"""How soon a changed quota is in force on a busy tenant: from the request until its operators are tiled anew, until it
is acknowledged, and until the request is answered.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flexnpu.bench.figures import Spread
from flexnpu.bench.result import MODELLED, NULL, Result, Row
from flexnpu.bench.stand import BenchError, Program, Stand, program
from flexnpu.bench.tenants import Seen, Tenant, run_together, told_cores

LEAST_CHANGES = 200
OPERATOR_MS = 1.0
LENT_MS = 10.0
_MS = 1e-3
_CORES = (8, 12, 16, 20, 24)
_PAUSE_S = (0.001, 0.006)
_SECONDS_PER_CHANGE = 0.009
_APPLIED_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Change:
    """One request. Host times in ns."""

    cores: int
    asked_ns: int
    answered_ns: int
    applied_after_ms: float  # as the daemon says it, from the change to the tenant's acknowledgement


def run(seconds: float = 4.0) -> Result:
    """At least 200 changes on each device, in about so long."""
    count = max(LEAST_CHANGES, round(seconds / 2 / _SECONDS_PER_CHANGE))
    rows = [*_on_null_device(count), *_on_software_npu(count), *_lending(max(4.0, seconds))]
    return Result("reassign", f"{NULL}; {MODELLED}", seconds, tuple(rows))


def _on_null_device(count: int) -> list[Row]:
    with Stand() as stand:
        tenant = stand.on_null_device([program("busy")], stand.vnpu("busy"))
        tenant.answer()
        changes = _change(stand, tenant, "busy", count)
        tenant.end_input()
        return rows("operators without a pause", changes, _seen(tenant), 0.0)


def _on_software_npu(count: int) -> list[Row]:
    with Stand() as stand:
        out = str(stand.root / "ran")
        operators = ["--ops", str(round(OPERATOR_MS * 1e6)), "--cores", "0", "--out", out]
        tenant = stand.on_software_npu([program("load"), *operators], stand.vnpu("busy"))
        tenant.answer()
        now = time.monotonic_ns()
        tenant.say(f"{now} {now + round((count * 2 * _SECONDS_PER_CHANGE + 1) * 1e9)}")
        changes = _change(stand, tenant, "busy", count)
        return rows(f"operators of {OPERATOR_MS:g} ms", changes, _seen(tenant), OPERATOR_MS)


def _lending(seconds: float) -> list[Row]:
    """A vNPU that is idle most of the time, beside one that takes up its cores meanwhile."""
    own = 12
    # Idle for longer than it takes to be thought idle (20 ms) and then to count as worth lending from (100 ms).
    lender = Tenant("lender", (_MS / 5,), cores=own, busy=0.02, idle=0.15)
    borrower = Tenant("borrower", (_MS,), cores=own, burst=2 * own, follows=True)
    ran = run_together([lender, borrower], seconds, governed=True)
    returns = returns_ms(ran.traces["lender"].asked_ns, lender.idle, ran.traces["borrower"].told, own)
    if not returns:
        return [Row("lent cores come back", 0.0, "ms", LENT_MS, also=False, more={"lent": 0})]
    spread = Spread.of(max(0.0, each - OPERATOR_MS) for each in returns)
    return [Row("lent cores come back", spread.p99, "ms", LENT_MS, more={"lent": len(returns), **_more(spread)})]


def returns_ms(asked_ns: NDArray[np.int64], idle_s: float, told: Seen, own: int) -> list[float]:
    """For each time that the lender had work again while its cores were lent: until the borrower was told to leave."""
    pauses = np.flatnonzero(np.diff(asked_ns) > idle_s * 0.5e9)
    found = []
    for wanted in asked_ns[pauses + 1]:
        before = [cores for at, cores in told if at <= wanted]
        back = next((at for at, cores in told if at > wanted and cores <= own), None)
        if before and before[-1] > own and back is not None:
            found.append((back - int(wanted)) / 1e6)
    return found


def _change(stand: Stand, tenant: Program, vnpu: str, count: int) -> list[Change]:
    changes: list[Change] = []
    chance = random.Random(1)
    time.sleep(0.1)
    for _ in range(count):
        time.sleep(chance.uniform(*_PAUSE_S))
        last = changes[-1].cores if changes else stand.cores
        cores = chance.choice([each for each in _CORES if each != last])
        asked = time.monotonic_ns()
        state = stand.client.set_quota(vnpu, cores=cores, wait=_APPLIED_WITHIN)
        answered = time.monotonic_ns()
        tenant.check()
        if not state.applied or state.applied_after_s is None:
            raise BenchError(f"revision {state.desired_revision} was not applied within {_APPLIED_WITHIN:g} s")
        changes.append(Change(cores, asked, answered, state.applied_after_s * 1e3))
    return changes


def _seen(tenant: Program) -> Seen:
    return told_cores(tenant.answer())


def rows(name: str, changes: Sequence[Change], seen: Seen, operator_ms: float) -> list[Row]:
    """operator_ms: what the host may wait for a running operator before it tiles the next one."""
    acknowledged = Spread.of(change.applied_after_ms for change in changes)
    answered = Spread.of((change.answered_ns - change.asked_ns) / 1e6 for change in changes)
    effects = [each for each in (effect_ms(change, seen) for change in changes) if each is not None]
    effect = Spread.of(max(0.0, each - operator_ms) for each in effects)
    return [
        Row(f"{name}: change to acknowledged", acknowledged.p99, "ms", 2.0, more=_more(acknowledged)),
        Row(f"{name}: request to first operator tiled anew", effect.p99, "ms", more=_more(effect)),
        Row(f"{name}: request to answer", answered.p99, "ms", more=_more(answered)),
    ]


def effect_ms(change: Change, seen: Seen) -> float | None:
    """From the request until the tenant was told the new count; None when it asked for none in between."""
    at = next((at for at, cores in seen if at >= change.asked_ns and cores == change.cores), None)
    return None if at is None else (at - change.asked_ns) / 1e6


def _more(spread: Spread) -> dict[str, object]:
    return {"median_ms": spread.median, "spread_ms": spread}
