# SPDX-License-Identifier: Apache-2.0
"""Counters of a vNPU. A tenant's page is its own word: what it counts is taken from when it attached to this daemon,
and never falls; what it had counted is kept when it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from flexnpu import _native
from flexnpu.tenancy import Tally

# By flexnpu_launch_kind, and the phases of flexnpu_phase that steps are counted by, in page.h.
LAUNCH_KINDS: Final = ("kernel", "graph", "copy", "set", "host", "comm", "legacy_op")
STEP_PHASES: Final = ("prefill", "decode", "mixed")
WAIT_BOUNDS_S: Final = tuple(bound / 1e9 for bound in _native.WAIT_BOUNDS_NS)
APPLY_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Why something was refused; attaches by flexnpu_status in page.h.
ATTACH_DENIALS: Final = {
    _native.BAD_HELLO: "bad_hello",
    _native.BAD_VERSION: "bad_version",
    _native.UNKNOWN_VNPU: "unknown_vnpu",
    _native.DENIED: "not_allowed",
    _native.DAEMON_FAULT: "daemon_fault",
}
QUOTA_DENIAL: Final = "quota"
MEMORY_DENIAL: Final = "memory"


@dataclass(slots=True)
class DevicePage:
    """Counters of a report page, of one device."""

    waited_ns: int = 0
    memory_denied: int = 0
    launches: list[int] = field(default_factory=lambda: [0] * len(LAUNCH_KINDS))


@dataclass(slots=True)
class Page:
    """Counters of a report page."""

    launched: int = 0
    ungoverned: int = 0
    waits: list[int] = field(default_factory=lambda: [0] * (len(WAIT_BOUNDS_S) + 1))
    steps: list[int] = field(default_factory=lambda: [0] * len(STEP_PHASES))
    devices: list[DevicePage] = field(default_factory=list)

    @classmethod
    def empty(cls, devices: int) -> Page:
        return cls(devices=[DevicePage() for _ in range(devices)])

    @classmethod
    def of(cls, report: _native.ReportPage, devices: int) -> Page:
        """As it says now."""
        read, sections = report.read(), [report.read_device(ordinal) for ordinal in range(devices)]
        return cls(
            read.launched,
            read.ungoverned,
            read.waits,
            report.steps(),
            [DevicePage(each.waited_ns, each.memory_denied, each.launches[: len(LAUNCH_KINDS)]) for each in sections],
        )

    def merge(self, other: Page, how: Callable[[int, int], int]) -> Page:
        """Number by number."""
        return Page(
            how(self.launched, other.launched),
            how(self.ungoverned, other.ungoverned),
            list(map(how, self.waits, other.waits)),
            list(map(how, self.steps, other.steps)),
            [
                DevicePage(
                    how(own.waited_ns, others.waited_ns),
                    how(own.memory_denied, others.memory_denied),
                    list(map(how, own.launches, others.launches)),
                )
                for own, others in zip(self.devices, other.devices, strict=True)
            ],
        )


class Meter:
    """A tenant's page from now on."""

    def __init__(self, report: _native.ReportPage, devices: int) -> None:
        self._report = report
        self._base = self._most = Page.of(report, devices)

    def read(self) -> Page:
        """What was counted since the beginning."""
        self._most = self._most.merge(Page.of(self._report, len(self._base.devices)), max)
        return self._most.merge(self._base, int.__sub__)


@dataclass(slots=True)
class CoreSeconds:
    """Cores over time, of a vNPU on one device. clock: seconds."""

    clock: Callable[[], float] = time.monotonic
    sum: float = 0.0
    _at: float = 0.0
    _cores: int = 0
    _used_ns: int = 0
    _takes_turns: bool = False

    def look(self, state: _native.VNpuState) -> None:
        """It had as many as at the last look, until now."""
        at = self.clock()
        seconds = (state.used_ns - self._used_ns) / 1e9 if self._takes_turns else at - self._at
        self.sum += self._cores * max(0.0, seconds)
        self._at, self._cores, self._used_ns, self._takes_turns = (
            at,
            state.granted_cores,
            state.used_ns,
            state.share > 0,
        )


@dataclass(slots=True)
class Counters:
    """Of a vNPU on so many devices."""

    devices: int
    denials: Counter[str] = field(default_factory=lambda: Counter({QUOTA_DENIAL: 0}))
    applies: Tally = field(default_factory=lambda: Tally(APPLY_BOUNDS_S))
    leases_reclaimed: int = 0
    core_seconds: Sequence[CoreSeconds] = field(init=False)
    _ended: Page = field(init=False)

    def __post_init__(self) -> None:
        self.core_seconds = [CoreSeconds() for _ in range(self.devices)]
        self._ended = Page.empty(self.devices)

    def look(self, states: Sequence[_native.VNpuState]) -> None:
        """At its cores; whenever they may have changed."""
        for each, state in zip(self.core_seconds, states, strict=True):
            each.look(state)

    def keep(self, meter: Meter) -> None:
        """Of a tenant that has ended."""
        self._ended = self._ended.merge(meter.read(), int.__add__)

    def pages(self, meters: Iterable[Meter]) -> Page:
        """Of all tenants, those that have ended too."""
        sum_ = self._ended
        for meter in meters:
            sum_ = sum_.merge(meter.read(), int.__add__)
        return sum_
