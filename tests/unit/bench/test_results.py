# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest

from flexnpu.bench import attach, decode, fairness, latency, overhead, reassign
from flexnpu.bench.figures import Busy
from flexnpu.bench.result import NULL, Result, Row
from flexnpu.bench.stalls import Stalls, Watch
from flexnpu.bench.stand import BenchError
from flexnpu.bench.tenants import Run, Tenant, Trace, split
from flexnpu.tenancy.vnpu import share_of


def trace(*intervals: tuple[float, float], asked: tuple[float, ...] = ()) -> Trace:
    starts, ends = np.array(intervals, dtype=float).reshape(-1, 2).T
    return Trace(Busy.of(ends, ends - starts), np.array(asked))


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name.rpartition(": ")[2]: row for row in rows}


def test_a_row_passes_at_its_target_and_one_without_a_target_neither_passes_nor_fails():
    assert Row("a", 5.0, "ms", 5.0).passed is True
    assert Row("a", 5.1, "ms", 5.0).passed is False
    assert Row("a", 99.0, "%", 99.0, at_least=True).passed is True
    assert Row("a", 1.0, "ms", 5.0, also=False).passed is False
    assert Row("a", 5.0, "ms").passed is None


def test_the_json_names_machine_device_targets_and_the_verdict():
    computed = np.float64(1.234567)
    rows = (Row("a", np.float64(1.0), "ns", 2.0, more={"median": computed}), Row("b", 3.0, "ns", 2.0))
    told = json.loads(Result("overhead", NULL, 1.0, rows).to_json())
    assert told["pass"] is False
    assert told["device"] == NULL
    assert told["machine"]["cpus"] >= 1
    assert told["rows"][0] == {"name": "a", "value": 1, "unit": "ns", "target": 2, "pass": True, "median": 1.2346}


def test_what_is_added_is_the_difference_of_the_medians():
    direct = {"launch/x": [1.0, 2.0, 9.0], "core count": [1.0]}
    (launch, count) = overhead.rows(direct, {"launch/x": [20.0, 21.0, 22.0], "core count": [4.0]})
    assert (launch.value, launch.target, launch.passed) == (19.0, 30.0, True)
    assert (count.value, count.target, count.passed) == (3.0, None, None)


def test_batches_that_do_not_keep_together_are_no_pass():
    (row,) = overhead.rows({"record event": [1.0]}, {"record event": [1.0] * 9 + [2.5]})
    assert row.value == 0.0
    assert row.passed is False


def test_google_benchmarks_report_gives_a_mean_per_batch():
    runs = [
        {"run_name": "a", "run_type": "iteration", "cpu_time": 1.5},
        {"run_name": "a", "run_type": "iteration", "cpu_time": 1.7},
        {"run_name": "a", "run_type": "aggregate", "cpu_time": 1.6},
    ]
    side = overhead.parse(json.dumps({"context": {"served_by": "/x/libflexnpu.so"}, "benchmarks": runs}))
    assert side.means == {"a": [1.5, 1.7]}
    assert side.served_by == "/x/libflexnpu.so"


def test_a_herd_of_which_one_was_not_attached_is_an_error_and_no_figure():
    assert attach.parse('{"attempts": [[1000000, 3000000, 0]]}')[0].took_ms == 2.0
    with pytest.raises(BenchError, match="1 of 2 processes were not attached"):
        attach.parse('{"attempts": [[1, 2, 0], [1, 2, 507000]]}')


def test_a_change_has_its_effect_when_the_tenant_is_first_told_the_new_count():
    change = reassign.Change(cores=8, asked_ns=5_000_000, answered_ns=9_000_000, applied_after_ms=1.0)
    seen = [(1_000_000, 8), (4_000_000, 12), (7_000_000, 8)]
    assert reassign.effect_ms(change, seen) == 2.0
    assert reassign.effect_ms(change, seen[:2]) is None
    rows = by_name(reassign.rows("x", [change], seen, operator_ms=0.5))
    assert rows["change to acknowledged"].value == 1.0
    assert rows["request to first operator tiled anew"].value == 1.5
    assert rows["request to answer"].value == 4.0


def test_lent_cores_are_back_when_the_borrower_is_told_no_more_than_its_own():
    asked = np.array([0, 1_000_000, 100_000_000, 101_000_000, 200_000_000])
    told = [(0, 12), (50_000_000, 24), (103_000_000, 12)]
    assert reassign.returns_ms(asked, 0.1, told, own=12) == [3.0]  # nothing was lent at the third


def test_a_decode_loop_is_slower_by_the_median_against_two_that_run_without():
    def turns(direct: float, again: float, governed: float) -> decode.Turns:
        return decode.Turns(*(decode.Turn(wall, 1.0) for wall in (direct, again, governed)))

    rounds = [[turns(1.0, 1.002, 1.002), turns(1.0, 1.002, 1.005)], [turns(1.0, 1.002, 1.5)]]
    wall, cpu, apart = decode.rows(rounds)
    assert wall.value == pytest.approx(100 * (1.005 / 1.001 - 1))
    assert wall.passed is True
    assert (wall.more["pairs"], wall.more["rounds"]) == (3, 2)
    assert (cpu.value, cpu.passed) == (0.0, None)
    assert (apart.value, apart.passed) == (pytest.approx(0.2), None)


def test_shares_are_held_against_the_quota_of_those_that_always_want_the_device():
    tenants = (Tenant("a", (1.0,), 25), Tenant("b", (1.0,), 75))
    ran = Run({"a": trace((0, 1), (4, 5)), "b": trace((1, 4), (5, 8))}, 0, 8)
    rows = by_name(fairness.rows(fairness.Scenario("x", tenants), ran))
    assert rows["off its share"].value == pytest.approx(0)
    assert rows["off its share in any second"].value == pytest.approx(75)
    assert rows["longest gap beyond the running operator"].value == 0  # three seconds after one are its share


def test_a_gap_counts_beyond_the_others_operator_and_the_pause_that_a_long_operator_of_its_own_asks_for():
    tenants = (Tenant("a", (1.0,), 25), Tenant("b", (1.0,), 75))
    late = Run({"a": trace((0, 1), (6, 7)), "b": trace((1, 6), (7, 8))}, 0, 8)
    rows = by_name(fairness.rows(fairness.Scenario("x", tenants), late))
    assert rows["longest gap beyond the running operator"].value == pytest.approx(1000)
    short = (Tenant("a", (1e-3,), 25), Tenant("b", (1.0,), 75))
    rows = by_name(fairness.rows(fairness.Scenario("x", short), late))
    assert rows["longest gap beyond the running operator"].value == pytest.approx(4000)


def test_elastic_tenants_divide_what_they_had_together_and_not_what_was_idle_or_had_by_one_that_comes_and_goes():
    tenants = (Tenant("a", (1.0,), 20), Tenant("b", (1.0,), 40), Tenant("bursts", (1.0,), 40, busy=1, idle=1))
    ran = Run({"a": trace((0, 2)), "b": trace((3, 7)), "bursts": trace((9, 10))}, 0, 10)
    rows = by_name(fairness.rows(fairness.Scenario("x", tenants), ran))
    assert rows["off its share"].value == pytest.approx(0)
    assert rows["device in use"].value == pytest.approx(70)
    unfair = Run({"a": trace((0, 3)), "b": trace((3, 6)), "bursts": trace((9, 10))}, 0, 10)
    rows = by_name(fairness.rows(fairness.Scenario("x", tenants), unfair))
    assert rows["off its share"].value == pytest.approx(10)


def test_of_a_gap_it_is_told_how_much_others_had_the_device_for():
    tenants = (Tenant("a", (1.0,), 50), Tenant("b", (1.0,), 50))
    ran = Run({"a": trace((0, 1), (7, 8)), "b": trace((1, 2), (2, 3), (3, 4))}, 0, 8)
    rows = by_name(fairness.rows(fairness.Scenario("x", tenants), ran))
    # of six seconds after its first, one operator of b and the pause after one of its own are its share
    assert rows["longest gap beyond the running operator"].value == pytest.approx(4000)
    assert rows["of a gap, the most that others had the device for"].value == pytest.approx(1000)


def test_a_processor_that_stands_still_tells_for_how_long():
    with Watch() as watch:
        time.sleep(0.05)
        # Nothing here can stop a processor; but who naps on it can be.
        begin = time.monotonic()
        os.kill(watch.napping[0], signal.SIGSTOP)
        time.sleep(0.06)
        os.kill(watch.napping[0], signal.SIGCONT)
        time.sleep(0.02)
    found = watch.found
    assert found.longest_s >= 0.05
    assert ((found.begins <= begin + 0.01) & (found.ends >= begin + 0.05)).any()


def test_stalls_of_several_processors_are_one_where_they_touch():
    found = Stalls.of([(3.0, 4.0), (1.0, 2.0), (1.5, 2.5), (2.5, 2.6)])
    assert found.begins.tolist() == [1.0, 3.0]
    assert found.ends.tolist() == [2.6, 4.0]
    assert found.longest_s == pytest.approx(1.6)


def test_what_a_stall_touches_or_has_put_off_is_not_spared():
    found = Stalls.of([(1.0, 1.1), (2.0, 2.0005), (3.0, 3.1)])  # the second is too short for one
    begins = np.array([0.5, 0.5, 1.115, 1.2, 1.9, 2.9, 3.05, 3.2])
    ends = np.array([0.9, 1.05, 1.118, 1.9, 2.8, 3.0, 3.06, 4.0])
    assert found.spared(begins, ends).tolist() == [True, False, False, True, True, False, False, True]
    assert Stalls().spared(begins, ends).all()


def test_of_a_stretch_of_time_it_is_told_for_how_long_the_host_stalled():
    found = Stalls.of([(1.0, 1.1), (1.1004, 1.2), (2.0, 2.0005)])  # the last is too short for one
    begins, ends = np.array([0.0, 1.05, 1.15, 1.9]), np.array([0.5, 1.15, 3.0, 3.0])
    assert found.within(begins, ends) == pytest.approx([0.0, 0.1, 0.05, 0.0])
    assert Stalls().within(begins, ends).tolist() == [0.0] * 4


def test_of_gaps_and_seconds_it_is_told_what_they_are_without_stalls():
    tenants = (Tenant("a", (0.1,), 50), Tenant("b", (0.1,), 50))
    a, b = trace((0, 1), (3, 4), (6, 8)), trace((1, 3), (4, 6))
    ran = Run({"a": a, "b": b}, 0, 8, Stalls.of([(101.5, 101.6), (104.5, 104.6)]), offset=-100)
    rows = by_name(fairness.rows(fairness.Scenario("x", tenants), ran))
    assert rows["longest gap beyond the running operator"].value == pytest.approx(1800)
    # of each gap of 2 s 0.1, and a ms of the nap before
    assert rows["longest gap less the host's stalls"].value == pytest.approx(1699)
    assert rows["longest gap less the host's stalls"].passed is False
    # all but those that reach into 1.5 to 1.62 or 4.5 to 4.62
    assert rows["off its share in any second without a stall of the host"].value == pytest.approx(50)
    assert rows["off its share in any second without a stall of the host"].more["seconds_percent"] < 75


def test_an_elastic_tenant_alone_has_to_use_the_device():
    tenants = (Tenant("e", (1.0,), 30),)
    rows = by_name(fairness.rows(fairness.Scenario("x", tenants, in_use=99), Run({"e": trace((0, 9))}, 0, 10)))
    assert (rows["device in use"].value, rows["device in use"].passed) == (pytest.approx(90), False)


def test_a_fixed_share_is_expected_even_alone_and_its_gaps_are_no_fault():
    tenants = (Tenant("f", (1.0,), 30, fixed=True),)
    ran = Run({"f": trace((0, 3), (9, 10))}, 0, 10)
    rows = by_name(fairness.rows(fairness.Scenario("x", tenants), ran))
    assert rows["off its share"].value == pytest.approx(10)
    assert rows["longest gap beyond the running operator"].value == 0


def test_a_critical_operators_wait_counts_beyond_what_ran_when_it_was_asked_for():
    effort = trace((0, 1e-3), (1.05e-3, 2e-3))
    ran = Run({"critical": trace((1.05e-3, 1.25e-3), asked=(0.4e-3,)), "effort": effort}, 0, 1)
    waits, beyond = latency.waited_us(ran)
    assert waits == pytest.approx([650])
    assert beyond == pytest.approx([50])
    p50, p99, strict, _ = latency.rows(latency.MIXES[1], ran)
    assert (p50.value, p50.passed, p99.value) == (0, True, 0)
    assert strict.value == pytest.approx(50)


def test_a_wait_longer_than_any_operator_and_a_hundred_microseconds_is_no_pass():
    ran = Run({"critical": trace((2e-3, 2.2e-3), asked=(0.8e-3,)), "effort": trace((0, 1e-3))}, 0, 1)
    _, p99, _, _ = latency.rows(latency.MIXES[1], ran)
    assert p99.value == pytest.approx(200)
    assert p99.passed is False


def test_tenants_say_their_terms_in_the_words_of_the_interface():
    tenant = Tenant("a", (50e-6, 0.02), 25, fixed=True, priority=1, busy=0.1, idle=0.2)
    assert tenant.terms() == {"cores": 24, "share_percent": 25, "fixed_share": True, "priority": 1}
    assert tenant.options() == [
        *("--ops", "50000,20000000", "--cores", "24"),
        *("--busy", "100000000", "--idle", "200000000"),
    ]


@pytest.mark.parametrize("tenants", range(1, 17))
@pytest.mark.parametrize("percent", [100, 80, 33.33])
def test_shares_are_split_evenly_and_all_fit(tenants: int, percent: float):
    shares = [share_of(each) for each in split(percent, tenants)]
    assert sum(shares) == round(percent * 100)
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("mix", latency.MIXES, ids=lambda mix: mix.name)
def test_the_tenants_of_a_mix_fit_a_device_together(mix: latency.Mix):
    tenants = latency.tenants_of(mix)
    assert sum(share_of(each.share or 0) for each in tenants) == 10_000
