# SPDX-License-Identifier: Apache-2.0
"""What libflexnpu.so adds to a call: Google Benchmark over the null device, directly and on a vNPU, in turns."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flexnpu.bench.figures import Spread
from flexnpu.bench.result import NULL, Result, Row
from flexnpu.bench.stand import BenchError, Stand, program

ROUNDS = 6  # of both sides; short ones, so that a busy host meets both alike
_CALLS = 16
_BATCH_S = 0.004
_TARGETS_NS = {"launch/": 30.0, "malloc and free": 300.0, "record event": 10.0, "synchronise stream": 30.0}

Means = Mapping[str, Sequence[float]]  # by call: nanoseconds of CPU time per call, a mean per batch


@dataclass(frozen=True, slots=True)
class Side:
    """One run of all calls, and whose functions they reached."""

    means: Means
    served_by: str


def run(seconds: float = 20.0) -> Result:
    """About so long."""
    batches = max(5, round(seconds / (2 * ROUNDS * _CALLS * _BATCH_S)) - 2)
    direct: list[Side] = []
    governed: list[Side] = []
    with Stand() as stand:
        vnpu = stand.vnpu("overhead")
        for number in range(ROUNDS):
            turns = [(direct, None), (governed, vnpu)]
            for sides, where in turns if number % 2 == 0 else reversed(turns):
                sides.append(_measure(stand, where, batches))
    _check_sides(direct, governed)
    return Result("overhead", NULL, seconds, tuple(rows(_joined(direct), _joined(governed))))


def rows(direct: Means, governed: Means) -> Iterable[Row]:
    """What is added, by call, and whether the batches with FlexNPU keep together (p99 under twice the median)."""
    for name, base in direct.items():
        without, with_it = Spread.of(base), Spread.of(governed[name])
        steady = with_it.p99 / with_it.median
        yield Row(
            name,
            with_it.median - without.median,
            "ns",
            target(name),
            also=steady < 2,
            more={
                "direct_ns": without.median,
                "with_flexnpu_ns": with_it.median,
                "p99_of_batches_ns": with_it.p99,
                "p99_over_median": steady,
                "batches": with_it.count,
            },
        )


def target(call: str) -> float | None:
    return next((most for start, most in _TARGETS_NS.items() if call.startswith(start)), None)


def _measure(stand: Stand, vnpu: str | None, batches: int) -> Side:
    options = [f"--benchmark_min_time={_BATCH_S}", f"--benchmark_repetitions={batches}", "--benchmark_format=json"]
    return parse(stand.on_null_device([program("call_bench"), *options], vnpu).output())


def parse(report: str) -> Side:
    """Google Benchmark's JSON."""
    told = json.loads(report)
    means: dict[str, list[float]] = defaultdict(list)
    for each in told["benchmarks"]:
        if each["run_type"] == "iteration":
            means[each["run_name"]].append(float(each["cpu_time"]))
    return Side(means, str(told["context"].get("served_by", "")))


def _check_sides(direct: Sequence[Side], governed: Sequence[Side]) -> None:
    def through_us(side: Side) -> bool:
        return side.served_by.endswith("libflexnpu.so")

    if any(map(through_us, direct)) or not all(map(through_us, governed)):
        raise BenchError("the two sides are not what they should be: is LD_PRELOAD set?")


def _joined(sides: Sequence[Side]) -> Means:
    return {name: np.concatenate([side.means[name] for side in sides]).tolist() for name in sides[0].means}
