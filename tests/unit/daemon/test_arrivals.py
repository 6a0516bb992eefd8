# SPDX-License-Identifier: Apache-2.0
"""Who asks to be a tenant all the time loses its own turn only."""

from __future__ import annotations

from flexnpu.daemon.arrivals import MOST_AT_ONCE, MOST_IN_A_ROW, PER_S, Arrivals


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_only_so_many_of_a_process_may_wait_for_an_answer():
    arrivals = Arrivals(Clock())
    assert [arrivals.enter(1) for _ in range(MOST_AT_ONCE)] == [None] * MOST_AT_ONCE
    assert "pid 1" in (arrivals.enter(1) or "")
    assert arrivals.enter(2) is None
    arrivals.leave(1)
    assert arrivals.enter(1) is None


def test_a_process_that_asks_all_the_time_is_answered_a_hundred_times_a_second():
    clock = Clock()
    arrivals = Arrivals(clock)

    def answered(times: int) -> int:
        count = 0
        for _ in range(times):
            if arrivals.enter(1) is None:
                arrivals.leave(1)
                count += 1
        return count

    assert answered(10_000) == MOST_IN_A_ROW
    clock.now += 1
    assert answered(10_000) == PER_S
    assert arrivals.enter(2) is None


def test_processes_that_are_gone_are_forgotten():
    clock = Clock()
    arrivals = Arrivals(clock)
    for pid in range(100_000):
        arrivals.enter(pid)
        arrivals.leave(pid)
        clock.now += 0.01
    assert len(arrivals._askers) <= 4096
