# SPDX-License-Identifier: Apache-2.0
"""Tenants whose device time is known, side by side on one software NPU: started, let go at one moment, read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flexnpu.bench.figures import Array, Busy
from flexnpu.bench.stalls import Stalls, Watch
from flexnpu.bench.stand import Program, Stand, ahead_of_other_work, program
from flexnpu.softnpu import read_state

_RAN = np.dtype([("asked_ns", "<i8"), ("asked_us", "<i8"), ("ended_us", "<i8"), ("duration_ns", "<i8")])
Seen = Sequence[tuple[int, int]]  # host time (ns) from which a tenant was told so many cores
_HEAD_START_S = 0.05
_SETTLE_S = 0.5  # after the start, before anything counts: estimates are learned meanwhile


@dataclass(frozen=True, slots=True)
class Tenant:
    """What a tenant runs, and on what terms. Times in seconds."""

    name: str
    operators: tuple[float, ...]
    share: float | None = None  # per cent
    fixed: bool = False
    priority: int = 0
    busy: float = 0.0  # with idle: it works in bursts
    idle: float = 0.0
    step: int = 0  # operators that are launched together and waited for; 0: it keeps its stream full
    every: float = 0.0  # over 0: one step (of one operator, if not said otherwise) each so long
    cores: int = 24
    burst: int | None = None
    follows: bool = False  # cuts its operators by the cores that it is told, not into 24 blocks

    @property
    def always_wants(self) -> bool:
        return self.idle == 0 and self.every == 0

    def terms(self) -> dict[str, object]:
        """The fields of its vNPU."""
        given: dict[str, object] = {"cores": self.cores}
        if self.share is not None:
            given |= {"share_percent": self.share, "fixed_share": self.fixed, "priority": self.priority}
        return given if self.burst is None else {**given, "burst_cores": self.burst}

    def options(self) -> list[str]:
        """Of native/bench/load.cc."""
        times = {"busy": self.busy, "idle": self.idle, "every": self.every}
        given = ["--ops", ",".join(str(_ns(each)) for each in self.operators)]
        given += ["--cores", "0" if self.follows else str(self.cores)]
        for name, value in times.items():
            given += [f"--{name}", str(_ns(value))] if value > 0 else []
        return [*given, "--step", str(self.step)] if self.step > 0 else given


@dataclass(frozen=True, slots=True)
class Trace:
    """What a tenant did, in device time (seconds)."""

    busy: Busy
    asked: Array = field(default_factory=lambda: np.zeros(0))  # of each step's first, when it was asked for; else 0
    asked_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # of all, by the host's clock
    told: Seen = ()

    def step_ends(self) -> Array:
        """Of each step, when its last operator ended."""
        first = np.flatnonzero(self.asked > 0)
        return self.busy.ends[np.append(first[1:], self.asked.size) - 1] if first.size else np.zeros(0)


@dataclass(frozen=True, slots=True)
class Run:
    """Traces by name, and the device times between which they count. stalls: of the host meanwhile.
    offset: device time less the host's (CLOCK_MONOTONIC), s.
    """

    traces: Mapping[str, Trace]
    start: float
    end: float
    stalls: Stalls = field(default_factory=Stalls)
    offset: float = 0.0

    def spared(self, begins: Array, ends: Array) -> NDArray[np.bool_]:
        """Of stretches of device time, which no stall of the host has touched, nor one shortly before."""
        return self.stalls.spared(begins - self.offset, ends - self.offset)

    def stalled(self, begins: Array, ends: Array) -> Array:
        """Seconds in which the host stalled in each stretch of device time."""
        return self.stalls.within(begins - self.offset, ends - self.offset)


def split(percent: float, parts: int) -> list[float]:
    """As evenly as shares go, which are hundredths of a per cent, and no more than the whole together."""
    hundredths = round(percent * 100)
    cuts = [hundredths * i // parts for i in range(parts + 1)]
    return [(after - before) / 100 for before, after in pairwise(cuts)]


def run_together(
    tenants: Sequence[Tenant],
    seconds: float,
    *,
    governed: bool,
    meanwhile: Callable[[Stand, float], None] | None = None,
) -> Run:
    """Each on a vNPU of its own, or, not governed, straight on the device. meanwhile: what is done to them, from when
    they count; it is given the stand and the host time (CLOCK_MONOTONIC, s) at which they end.
    """
    with ahead_of_other_work(), Stand(governed=governed) as stand:
        programs = {tenant.name: start_tenant(stand, tenant, number) for number, tenant in enumerate(tenants)}
        for each in programs.values():
            each.answer()
        with Watch() as watch:
            start = time.monotonic() + _HEAD_START_S
            end = start + _SETTLE_S + seconds
            for each in programs.values():
                each.say(f"{round(start * 1e9)} {round(end * 1e9)}")
            if meanwhile is not None:
                time.sleep(max(0.0, start + _SETTLE_S - time.monotonic()))
                meanwhile(stand, end)
            told = {name: told_cores(each.answer()) for name, each in programs.items()}
        offset = read_state(stand.state_dir / "device0").device_seconds - time.monotonic()
        traces = {name: read_trace(stand, name, told[name]) for name in programs}
    return Run(traces, start + offset + _SETTLE_S, end + offset, watch.found, offset)


def start_tenant(stand: Stand, tenant: Tenant, number: int, *, new: bool = True) -> Program:
    """On a vNPU of its own, which is made unless it is not `new`; number: its seed."""
    if stand.governed and new:
        stand.vnpu(tenant.name, **tenant.terms())
    vnpu = tenant.name if stand.governed else None
    out = ["--out", str(stand.root / f"{tenant.name}.ran"), "--seed", str(number + 1)]
    return stand.on_software_npu([program("load"), *tenant.options(), *out], vnpu)


def read_trace(stand: Stand, name: str, told: Seen) -> Trace:
    """What it left at its end."""
    ran = np.fromfile(stand.root / f"{name}.ran", dtype=_RAN)
    ran = ran[np.argsort(ran["ended_us"], kind="stable")]
    busy = Busy.of(ran["ended_us"] * 1e-6, ran["duration_ns"] * 1e-9)
    return Trace(busy, ran["asked_us"] * 1e-6, ran["asked_ns"], told)


def told_cores(answer: Mapping[str, Any]) -> Seen:
    """From what a program of native/bench says at its end."""
    return [(int(at), int(cores)) for at, cores in answer["cores"]]


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
