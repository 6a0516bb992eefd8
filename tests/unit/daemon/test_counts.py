# SPDX-License-Identifier: Apache-2.0
"""What a vNPU's counters make of pages that tenants write, and of cores over time."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

from fake_tenant import (
    DENIED_AT,
    LAUNCHED_AT,
    LAUNCHES_AT,
    REPORT_AT,
    REPORT_SIZE,
    TOTALS_AT,
    UNGOVERNED_AT,
    WAITED_AT,
    WAITS_AT,
)

from flexnpu import _native
from flexnpu.daemon.counts import WAIT_BOUNDS_S, CoreSeconds, Counters, Meter


class Page:
    """A report page on two devices, as its tenant writes it."""

    def __init__(self) -> None:
        self.report = _native.ReportPage(7)
        self._map = mmap.mmap(self.report.fd, 4096)

    def put(self, at: int, *values: int) -> None:
        struct.pack_into(f"<{len(values)}Q", self._map, at, *values)

    def section(self, ordinal: int, at: int, *values: int) -> None:
        self.put(REPORT_AT + REPORT_SIZE * ordinal + at, *values)


@dataclass
class State:
    granted_cores: int = 8
    used_ns: int = 0
    share: int = 0


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_page_is_read_whole():
    page = Page()
    meter = Meter(page.report, 2)
    page.put(LAUNCHED_AT, 40)
    page.put(UNGOVERNED_AT, 1)
    page.put(WAITS_AT + 8 * 3, 6)
    page.put(TOTALS_AT, 2, 30, 1)
    page.section(0, WAITED_AT, 5_000)
    page.section(1, LAUNCHES_AT, 1, 2, 3, 4, 5, 6, 7)
    page.section(1, DENIED_AT, 9)
    read = meter.read()
    assert (read.launched, read.ungoverned, read.steps) == (40, 1, [2, 30, 1])
    assert read.waits == [6 if bucket == 3 else 0 for bucket in range(len(WAIT_BOUNDS_S) + 1)]
    assert [(each.waited_ns, each.memory_denied) for each in read.devices] == [(5_000, 0), (0, 9)]
    assert read.devices[1].launches == [1, 2, 3, 4, 5, 6, 7]


def test_a_page_that_is_handed_back_counts_from_then_on():
    page = Page()
    page.put(LAUNCHED_AT, 1000)
    meter = Meter(page.report, 1)
    assert meter.read().launched == 0
    page.put(LAUNCHED_AT, 1003)
    assert meter.read().launched == 3


def test_a_page_whose_numbers_fall_keeps_what_it_had():
    page = Page()
    meter = Meter(page.report, 1)
    page.put(LAUNCHED_AT, 50)
    page.section(0, WAITED_AT, 70)
    assert meter.read().launched == 50
    page.put(LAUNCHED_AT, 3)
    page.section(0, WAITED_AT, 2**64 - 1)
    read = meter.read()
    assert read.launched == 50
    assert read.devices[0].waited_ns == 2**53 - 1, "cut to what a page may say"
    page.section(0, WAITED_AT, 0)
    assert meter.read().devices[0].waited_ns == 2**53 - 1


def test_what_ended_tenants_had_counted_stays():
    counters, first, second = Counters(1), Page(), Page()
    meters = [Meter(first.report, 1), Meter(second.report, 1)]
    first.put(LAUNCHED_AT, 10)
    second.put(LAUNCHED_AT, 5)
    assert counters.pages(meters).launched == 15
    counters.keep(meters.pop(0))
    first.put(LAUNCHED_AT, 99)
    assert counters.pages(meters).launched == 15


def test_cores_of_its_own_count_by_the_clock():
    clock = Clock()
    counted = CoreSeconds(clock)
    counted.look(State(granted_cores=8))
    clock.now += 2.0
    counted.look(State(granted_cores=12))
    clock.now += 0.5
    counted.look(State(granted_cores=12))
    assert counted.sum == 8 * 2.0 + 12 * 0.5


def test_shared_time_counts_by_what_is_charged():
    clock = Clock()
    counted = CoreSeconds(clock)
    counted.look(State(granted_cores=24, share=5000, used_ns=3_000_000_000))
    clock.now += 10.0
    counted.look(State(granted_cores=24, share=5000, used_ns=4_000_000_000))
    assert counted.sum == 24 * 1.0
    clock.now += 10.0
    counted.look(State(granted_cores=6, used_ns=4_500_000_000))
    assert counted.sum == 24 * 1.5, "until then it took turns"
    clock.now += 10.0
    counted.look(State(granted_cores=6, used_ns=4_500_000_000))
    assert counted.sum == 24 * 1.5 + 6 * 10.0
