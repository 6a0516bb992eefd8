# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from flexnpu.bench import moves
from flexnpu.bench.figures import Busy
from flexnpu.bench.result import Row
from flexnpu.bench.stalls import Stalls
from flexnpu.bench.stand import BenchError
from flexnpu.bench.tenants import Run, Tenant, Trace

STEADY = 0.01


def ends(steps: int, **paused: float) -> np.ndarray:
    """Of steps of 10 ms; paused: seconds more before the end of a step, as s5=0.002."""
    gaps = np.full(steps, STEADY)
    for step, more in paused.items():
        gaps[int(step[1:])] += more
    return 1.0 + np.cumsum(gaps)


def steps(*intervals: tuple[float, float], asked: tuple[float, ...]) -> Trace:
    starts, found = np.array(intervals, dtype=float).reshape(-1, 2).T
    return Trace(Busy.of(found, found - starts), np.array(asked))


def named(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def gaps(at, made):
    """On a host that never stalls."""
    return moves.gaps(at, made, np.zeros(at.size - 1))


def test_the_gap_in_which_a_move_is_asked_for_is_around_it():
    at = ends(20, s10=0.002)
    found = gaps(at, [(at[9] + 0.001, at[9] + 0.002)])
    assert found.around == pytest.approx([12.0])
    assert found.before == pytest.approx([10.0])
    assert found.steady == pytest.approx(10.0)


@pytest.mark.parametrize(("step", "counts"), [(9, False), (10, True), (13, True), (14, False)])
def test_three_steps_after_its_answer_are_around_a_move_and_no_more(step: int, counts: bool):
    at = ends(20, **{f"s{step}": 0.005})
    asked = at[9] + 0.001
    found = gaps(at, [(asked, asked + 0.0001)])
    assert found.around == pytest.approx([15.0 if counts else 10.0])


def test_what_is_slow_before_a_move_is_not_laid_to_it():
    at = ends(20, s8=0.05)
    found = gaps(at, [(at[9] + 0.001, at[9] + 0.002)])
    assert found.around == pytest.approx([10.0])
    assert found.before == pytest.approx([60.0])


def test_a_move_that_is_answered_late_is_judged_by_all_steps_until_then():
    at = ends(30, s15=0.004)
    assert gaps(at, [(at[9] + 0.001, at[12] + 0.001)]).around == pytest.approx([14.0])
    assert gaps(at, [(at[9] + 0.001, at[10] + 0.001)]).around == pytest.approx([10.0])


def test_moves_without_steps_around_them_do_not_count_and_none_at_all_is_an_error():
    at = ends(20)
    assert list(gaps(at, [(0.5, 0.6), (at[9], at[9] + 0.001), (9.0, 9.1)]).counted) == [1]
    with pytest.raises(BenchError, match="of 2 moves none has steps before and after it"):
        gaps(at, [(0.5, 0.6), (9.0, 9.1)])


def test_a_pause_of_more_than_a_tenth_of_the_steady_gap_is_a_missed_target():
    at = ends(40, s10=0.0005, s25=0.002)
    trace = Trace(Busy.of(at, np.full(at.size, STEADY)), at - STEADY)
    made = [moves.Move(each - 1 + 0.001, each - 1 + 0.002, 0.0005) for each in (at[9], at[24])]
    rows = named(moves.parted_rows(Run({"decode": trace}, 1, 2, offset=1.0), made, 2))
    name = "parted: worst gap during a move over the steady gap"
    assert rows[f"{name}, p50"].value == pytest.approx(12.5)
    assert rows[f"{name}, most"].value == pytest.approx(20.0)
    assert rows[f"{name}, most"].passed is False
    assert rows[f"{name}, most less the host's stalls"].value == pytest.approx(20.0)
    assert rows["parted: the same where decode's cores grow, p50"].value == pytest.approx(5.0)
    assert rows["parted: the same where decode's cores shrink, p50"].value == pytest.approx(20.0)
    assert rows["parted: the same while nothing moves, most"].value == pytest.approx(0.0)
    assert rows["parted: steady gap"].value == pytest.approx(10.0)
    assert rows["parted: request to answer, p99"].value == pytest.approx(1.0)
    assert rows["parted: move to acknowledged, p99"].value == pytest.approx(0.5)


def test_a_pause_in_which_the_host_stalled_is_told_apart():
    at = ends(40, s10=0.0005, s25=0.002)
    trace = Trace(Busy.of(at, np.full(at.size, STEADY)), at - STEADY)
    made = [moves.Move(each + 0.001, each + 0.002, 0.0005) for each in (at[9], at[24])]
    ran = Run({"decode": trace}, 1, 2, Stalls.of([(at[24] + 0.005, at[24] + 0.007)]))
    rows = named(moves.parted_rows(ran, made, 2))
    name = "parted: worst gap during a move over the steady gap"
    assert rows[f"{name}, most"].value == pytest.approx(20.0)
    # of the gap of 12 ms 2, and 1 that the nap before it was
    less = rows[f"{name}, most less the host's stalls"]
    assert (less.value, less.passed) == (pytest.approx(5.0), True)


def test_a_move_that_was_not_applied_in_time_or_not_made_at_all_is_missed():
    at = ends(40)
    trace = Trace(Busy.of(at, np.full(at.size, STEADY)), at - STEADY)
    made = [moves.Move(at[9], at[9] + 0.001, 0.0005), moves.Move(at[20], at[20] + 0.001, None)]
    ran = Run({"decode": trace}, 1, 2)
    applied = named(moves.parted_rows(ran, made, 2))["parted: moves applied in time"]
    assert (applied.value, applied.passed) == (1, False)
    assert named(moves.parted_rows(ran, made[:1], 1))["parted: moves applied in time"].passed is True
    assert named(moves.parted_rows(ran, made[:1], 2))["parted: moves applied in time"].passed is False


def test_a_step_waits_from_when_it_is_ready_until_its_first_operator_starts():
    decode = steps((2.3e-3, 2.5e-3), (4e-3, 4.2e-3), (6e-3, 6.2e-3), asked=(1.4e-3, 0.0, 6e-3))
    ran = Run({"decode": decode, "prefill": steps((1e-3, 2e-3), asked=(0.0,))}, 1e-4, 1)
    p50, p99, _ = moves.shared_rows(ran)
    assert p99.value == pytest.approx(300)  # of 900 us, 600 were the operator that ran
    assert (p99.target, p99.passed, p50.value) == (200, False, pytest.approx(150))


def test_a_step_ends_with_the_last_of_its_operators():
    trace = steps((0, 1), (1, 2), (3, 4), (4, 5), asked=(0.1, 0, 2.5, 0))
    assert trace.step_ends() == pytest.approx([2, 5])
    assert steps((0, 1), asked=(0.0,)).step_ends().size == 0


def test_tenants_of_a_split_have_the_device_between_them():
    for split in moves.SPLITS:
        assert sum(split) == 24
    assert [each.cores for each in moves.PARTED] == list(moves.SPLITS[0])
    assert Tenant("a", (1e-3,), step=4).options()[-2:] == ["--step", "4"]
