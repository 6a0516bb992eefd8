# SPDX-License-Identifier: Apache-2.0
"""What moving cores costs the one who decodes: its worst gap between two steps around a move beside its steady one,
over a thousand moves; and, where the two phases share the device's time, how long a step waits to start.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flexnpu.bench.figures import Array, Spread
from flexnpu.bench.latency import waited_us
from flexnpu.bench.result import MODELLED, Result, Row
from flexnpu.bench.stand import BenchError, Stand
from flexnpu.bench.tenants import Run, Tenant, run_together

GAP_PERCENT, START_US = 10.0, 200.0
SPLITS = ((18, 6), (12, 12))  # cores of prefill and decode, in turns
STEPS_AFTER = 3  # steps that still count as around a move after it was answered
_MOVE_EVERY_S = 0.15  # fifteen steps: what is queued behind a move is over by the next
_WITHIN_S = 0.5  # the controller's own patience
_SHARED_S = 10.0
_MS = 1e-3
# A step is 10 ms of device time on any cores: what comes to it is pause, and no slower operator.
_STEP, _OPERATOR_S = 40, _MS / 4
_PREFILL, _DECODE = "prefill", "decode"
PARTED = (
    Tenant(_PREFILL, (_MS,), cores=SPLITS[0][0], follows=True),
    Tenant(_DECODE, (_OPERATOR_S,), cores=SPLITS[0][1], follows=True, step=_STEP),
)
# Decode asks for less than its share: 10 ms in each 23.
SHARED = (
    Tenant(_PREFILL, (_MS,), 50, follows=True),
    Tenant(_DECODE, (_OPERATOR_S,), 50, priority=1, follows=True, step=_STEP, every=0.0233),
)


@dataclass(frozen=True, slots=True)
class Move:
    """One transaction. Host times in seconds; applied_after_s: as the daemon says it, None where it was not in time."""

    asked_s: float
    answered_s: float
    applied_after_s: float | None


@dataclass(frozen=True, slots=True)
class Gaps:
    """From the end of a step to the end of the next, in ms: the worst around each of the moves that count, the worst of
    as many before it, and the median of all that are around none. less: the worst around each, less the time in it
    in which the host stalled."""

    counted: NDArray[np.int64]  # numbers of moves, from 0
    around: Array
    before: Array
    steady: float
    less: Array


def run(moves: int = 1000) -> Result:
    """So many moves, in about 0.15 s each, and 10 s of shared time."""
    made: list[Move] = []

    def move(stand: Stand, end: float) -> None:
        made.extend(_move(stand, moves, end))

    began = time.monotonic()
    parted = run_together(PARTED, 1 + 1.1 * moves * _MOVE_EVERY_S, governed=True, meanwhile=move)
    shared = run_together(SHARED, _SHARED_S, governed=True)
    rows = [*parted_rows(parted, made, moves), *shared_rows(shared)]
    return Result("moves", MODELLED, time.monotonic() - began, tuple(rows), {"splits": SPLITS, "step_operators": _STEP})


def _move(stand: Stand, count: int, end: float) -> list[Move]:
    """As many as there is time for."""
    found: list[Move] = []
    due = time.monotonic()
    for number in range(1, count + 1):
        due = max(due + _MOVE_EVERY_S, time.monotonic() + _MOVE_EVERY_S / 2)  # where one was late, the next ones are
        if due > end - _MOVE_EVERY_S:
            break
        time.sleep(due - time.monotonic())
        cores = zip((_PREFILL, _DECODE), SPLITS[number % 2], strict=True)
        asked = time.monotonic()
        state = stand.client.rebalance([{"vnpu": name, "cores": each} for name, each in cores], wait=_WITHIN_S)
        answered = time.monotonic()
        found.append(Move(asked, answered, state.applied_after_s if state.applied else None))
    return found


def gaps(ends_s: Array, moves: Sequence[tuple[float, float]], stalled: Array) -> Gaps:
    """ends_s: of steps, in order; moves: when each was asked for and answered, by the same clock; stalled: seconds of
    each gap in which the host did. A move with no steps around it, or none before, does not count. Raises BenchError
    where none counts."""
    all_gaps = np.diff(ends_s) * 1e3
    gaps_less = all_gaps - stalled * 1e3
    steady = np.ones(all_gaps.size, dtype=bool)
    counted, around, before, less = [], [], [], []
    for number, (asked, answered) in enumerate(moves):
        first = int(np.searchsorted(ends_s, asked, side="right")) - 1
        last = int(np.searchsorted(ends_s, answered, side="right")) + STEPS_AFTER
        count = last - first
        if first < count or last > all_gaps.size:
            continue
        steady[first:last] = False
        counted.append(number)
        around.append(all_gaps[first:last].max())
        before.append(all_gaps[first - count : first].max())
        less.append(gaps_less[first:last].max())
    if not around or not steady.any():
        raise BenchError(f"of {len(moves)} moves none has steps before and after it; give more time between them")
    usual = float(np.median(all_gaps[steady]))
    return Gaps(np.array(counted), np.array(around), np.array(before), usual, np.array(less))


def parted_rows(ran: Run, moves: Sequence[Move], wanted: int) -> list[Row]:
    at = [(move.asked_s + ran.offset, move.answered_s + ran.offset) for move in moves]
    ends = ran.traces[_DECODE].step_ends()
    found = gaps(ends, at, ran.stalled(ends[:-1], ends[1:]))
    percents = 100 * (found.around / found.steady - 1)
    over, quiet = Spread.of(percents), Spread.of(100 * (found.before / found.steady - 1))
    applied = [move.applied_after_s * 1e3 for move in moves if move.applied_after_s is not None]
    answered = Spread.of((move.answered_s - move.asked_s) * 1e3 for move in moves)
    name = "parted: worst gap during a move over the steady gap"
    rows = [
        Row("parted: moves applied in time", len(applied), "moves", wanted, at_least=True),
        Row(f"{name}, p50", over.median, "%", GAP_PERCENT),
        Row(f"{name}, p99", over.p99, "%", GAP_PERCENT),
        Row(f"{name}, most", over.most, "%", GAP_PERCENT, more={"spread_percent": over}),
        Row(f"{name}, most less the host's stalls", 100 * (found.less.max() / found.steady - 1), "%", GAP_PERCENT),
        *_by_direction(found, percents),
        Row("parted: the same while nothing moves, p99", quiet.p99, "%", more={"spread_percent": quiet}),
        Row("parted: the same while nothing moves, most", quiet.most, "%"),
        Row("parted: steady gap", found.steady, "ms", more={"step_ms": _STEP * _OPERATOR_S * 1e3}),
        Row("parted: longest stall of an idle thread of the host", 1e3 * ran.stalls.longest_s, "ms"),
        Row("parted: request to answer, p50", answered.median, "ms"),
        Row("parted: request to answer, p99", answered.p99, "ms", more={"spread_ms": answered}),
    ]
    if applied:
        acknowledged = Spread.of(applied)
        rows += [
            Row("parted: move to acknowledged, p50", acknowledged.median, "ms"),
            Row("parted: move to acknowledged, p99", acknowledged.p99, "ms", more={"spread_ms": acknowledged}),
        ]
    return rows


def _by_direction(found: Gaps, percents: Array) -> list[Row]:
    rows = []
    for first, what in enumerate(("grow", "shrink")):  # from the first split, in turns
        these = percents[found.counted % len(SPLITS) == first]
        if these.size:
            spread, name = Spread.of(these), f"parted: the same where decode's cores {what}, p50"
            rows.append(Row(name, spread.median, "%", more={"spread_percent": spread}))
    return rows


def shared_rows(ran: Run) -> list[Row]:
    """Of decode's steps, beside prompts that always have an operator of 1 ms."""
    waits, beyond = waited_us(ran, _DECODE)
    strict = Spread.of(beyond)
    more = {"spread_us": strict, "whole_wait_us": Spread.of(waits)}
    name = "shared: a step's wait beyond the running operator"
    return [
        Row(f"{name}, p50", strict.median, "us", START_US),
        Row(f"{name}, p99", strict.p99, "us", START_US, more=more),
        Row("shared: longest stall of an idle thread of the host", 1e3 * ran.stalls.longest_s, "ms"),
    ]
