# SPDX-License-Identifier: Apache-2.0
"""How long it takes until a process is a tenant: one alone, and 63 on each of 16 devices at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from flexnpu.bench.figures import Spread
from flexnpu.bench.result import NULL, Result, Row
from flexnpu.bench.stand import BenchError, Stand, many_files, program

DEVICES = 16
PROCESSES = 63  # that a device takes


@dataclass(frozen=True, slots=True)
class Attempt:
    """One aclInit, in milliseconds since all were let go; status 0: it is a tenant."""

    began_ms: float
    ended_ms: float
    status: int

    @property
    def took_ms(self) -> float:
        return self.ended_ms - self.began_ms


def run(seconds: float = 3.0) -> Result:
    """So long for those that come one by one; the herd takes what it takes."""
    return Result("attach", NULL, seconds, (_alone(seconds), _herd()))


def _alone(seconds: float) -> Row:
    with Stand() as stand:
        vnpu = stand.vnpu("alone")
        attempts = [_attach(stand, 1, [vnpu])[0] for _ in range(max(20, round(seconds / 0.02)))]
    spread = Spread.of(attempt.took_ms for attempt in attempts)
    return Row("one process", spread.p99, "ms", 5.0, more={"median_ms": spread.median, "spread_ms": spread})


def _herd() -> Row:
    with many_files(), Stand(DEVICES) as stand:
        vnpus = [stand.vnpu(f"herd{device}", device=device) for device in range(DEVICES)]
        attempts = _attach(stand, PROCESSES, vnpus)
    return Row(
        f"{PROCESSES} processes on each of {DEVICES} devices",
        max(attempt.ended_ms for attempt in attempts),
        "ms",
        1000.0,
        more={"attached": len(attempts), "spread_ms": Spread.of(attempt.ended_ms for attempt in attempts)},
    )


def _attach(stand: Stand, processes: int, vnpus: Sequence[str]) -> list[Attempt]:
    herd = stand.on_null_device([program("attach_herd"), str(processes), *vnpus], vnpus[0])
    return parse(herd.output())


def parse(output: str) -> list[Attempt]:
    """What attach_herd says. Raises BenchError when one of them is no tenant."""
    attempts = [Attempt(began / 1e6, ended / 1e6, status) for began, ended, status in json.loads(output)["attempts"]]
    failed = [attempt.status for attempt in attempts if attempt.status != 0]
    if failed:
        raise BenchError(f"{len(failed)} of {len(attempts)} processes were not attached (status {failed[0]})")
    return attempts
