# SPDX-License-Identifier: Apache-2.0
import math
import random
import sys

import numpy as np
import pytest

from flexnpu.simulator.arrival import Finished, Sample
from flexnpu.simulator.results import Collector, Sampled
from flexnpu.simulator.series import BUCKETS, Series
from flexnpu.simulator.sketch import ERROR, Sketch
from flexnpu.simulator.slo import Slo, SloError, parse_slo, show_seconds

SLO = Slo(ttft=1.0, itl=0.1)


def finished(arrival=0.0, ttft=0.5, tpot=0.05, output=11, **other):
    first = arrival + ttft
    values = {
        "arrival": arrival, "first_token": first, "finish": first + tpot * (output - 1), "prompt": 100,
        "output": output, "cached": 0, "itl_max": tpot, "itl_p99": tpot, "mean_tpot": tpot, "preemptions": 0,
        "dropped": False, "number": 0,
    }  # fmt: skip
    return Finished(**{**values, **other})


@pytest.mark.parametrize("draw", ["lognormal", "uniform", "two far apart"])
def test_quantiles_are_within_the_stated_error_of_the_exact_ones(draw):
    numbers = random.Random(3)
    make = {
        "lognormal": lambda: numbers.lognormvariate(-2, 2),
        "uniform": lambda: numbers.uniform(0.01, 5),
        "two far apart": lambda: numbers.choice((1e-5, 4e4)),
    }[draw]
    values = [make() for _ in range(20_000)]
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    for part in (0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = np.percentile(values, part * 100, method="higher")
        assert sketch.quantile(part) == pytest.approx(exact, rel=ERROR * 1.0001)
    assert sketch.mean == pytest.approx(np.mean(values))


def test_a_sketch_does_not_grow():
    sketch = Sketch()
    before = sys.getsizeof(sketch._counts)
    for exponent in range(-400, 300):
        sketch.add(10.0**exponent)
    assert sys.getsizeof(sketch._counts) == before
    assert (sketch.quantile(0), sketch.quantile(1)) == (0.0, pytest.approx(1e6, rel=0.02))


def test_a_weighted_value_counts_so_many_times():
    one, many = Sketch(), Sketch()
    many.add(0.5, 3)
    for _ in range(3):
        one.add(0.5)
    assert (one.count, one.mean, one.quantile(0.5)) == (many.count, many.mean, many.quantile(0.5))


def test_an_empty_sketch_has_no_figures_and_nonsense_is_not_counted():
    assert (Sketch().quantile(0.5), Sketch().mean, Sketch().distribution()) == (None, None, [])
    for value in (math.nan, -0.1):
        with pytest.raises(ValueError, match="cannot be counted"):
            Sketch().add(value)


def test_a_distribution_rises_to_one_and_is_short_enough_to_draw():
    sketch = Sketch()
    numbers = random.Random(5)
    for _ in range(50_000):
        sketch.add(numbers.lognormvariate(0, 3))
    points = sketch.distribution(100)
    assert points == sorted(points)
    assert points[-1][1] == 1.0
    assert len(points) < 450


def test_a_series_keeps_time_weighted_means_and_maxima():
    series = Series(("queue",))
    series.sample(0.0, (4.0,))
    series.sample(1.0, (0.0,))
    series.advance(4.0)
    table = series.table()
    assert series.means() == {"queue": 1.0}
    assert max(table["queue_max"]) == 4.0
    assert sum(mean * series.width for mean in table["queue"]) == pytest.approx(4.0)


def test_a_series_has_as_many_buckets_for_a_second_as_for_a_year():
    series = Series(("queue",))
    for day in range(366):
        series.sample(day * 86400.0, (float(day),))
    series.advance(366 * 86400.0)
    table = series.table()
    assert BUCKETS / 2 < len(table["seconds"]) <= BUCKETS
    assert series.means()["queue"] == pytest.approx(182.5)
    assert max(table["queue_max"]) == 365.0


def test_a_series_does_not_depend_on_how_often_it_is_sampled():
    seldom, often = Series(("queue",)), Series(("queue",))
    for second in range(300):
        seldom.sample(float(second), (second % 7,))
        for part in range(8):
            often.sample(second + part / 8, (second % 7,))
    for series in (seldom, often):
        series.advance(300.0)
    assert seldom.table() == often.table()


def test_a_request_is_good_only_when_it_keeps_both_targets():
    collector = Collector(SLO)
    for request in (
        finished(), finished(ttft=1.5), finished(tpot=0.2), finished(ttft=2, tpot=0.2), finished(dropped=True),
        finished(finish=math.nan), finished(ttft=1.0, tpot=0.1),
    ):  # fmt: skip
        collector.request(request)
    summary = collector.summary()
    assert summary["requests"] == {
        "total": 7, "finished": 5, "within_slo": 2,
        "missed": {"ttft": 1, "itl": 1, "both": 1, "dropped": 1, "unfinished": 1},
    }  # fmt: skip
    assert summary["attainment"] == pytest.approx(2 / 7)


def test_goodput_is_good_requests_per_second_from_first_arrival_to_last_token():
    collector = Collector(SLO)
    for second in range(10):
        collector.request(finished(arrival=5.0 + second, ttft=0.5 if second % 2 else 1.5, tpot=0.05))
    summary = collector.summary()
    assert summary["seconds"] == pytest.approx(10.0)
    assert summary["goodput_rps"] == pytest.approx(0.5)
    assert summary["throughput"]["requests_per_s"] == pytest.approx(1.0)
    assert summary["throughput"]["output_tokens_per_s"] == pytest.approx(11.0)
    assert summary["offered_rps"] == pytest.approx(1.0)


def test_one_token_answers_have_no_gap_to_miss():
    collector = Collector(SLO)
    collector.request(finished(output=1, mean_tpot=math.nan, itl_p99=math.nan, itl_max=math.nan))
    assert collector.attainment == 1.0
    assert collector.summary()["latency_s"]["tpot"]["count"] == 0


@pytest.mark.parametrize(("by", "good"), [("mean", 1), ("p99", 0), ("max", 0)])
def test_the_itl_target_can_be_held_against_the_mean_the_tail_or_the_longest_gap(by, good):
    collector = Collector(Slo(1.0, 0.1, by))
    collector.request(finished(itl_p99=0.15, itl_max=0.3))
    assert collector.good == good


def test_what_ran_is_the_same_in_any_order_and_no_figure_is_nan():
    requests = [finished(arrival=float(i), ttft=0.1 * i, tpot=0.01 * i) for i in range(20)]
    one, other = Collector(SLO), Collector(SLO)
    for request in requests:
        one.request(request)
    for request in reversed(requests):
        other.request(request)
    first, second = one.summary(), other.summary()
    assert first["latency_s"]["ttft"]["p99"] == second["latency_s"]["ttft"]["p99"]
    assert first["requests"] == second["requests"]
    assert "nan" not in repr(Collector(SLO).summary()).lower()


def test_samples_come_back_by_name():
    collector = Collector(SLO)
    collector.sample(Sample(0.0, 1, 2, 3, 4, 5, 0.5))
    collector.series.advance(1.0)
    assert collector.summary()["mean"] == {
        "waiting": 1, "running": 2, "prefill_cores": 3, "decode_cores": 4, "mixed_cores": 5, "kv_used": 0.5,
    }  # fmt: skip


def test_sampled_plans_are_few_and_spread_over_the_whole_run():
    sampled = Sampled()
    for number in range(10_000):
        if sampled.offer():
            sampled.keep({"number": number})
    numbers = [plan["number"] for plan in sampled.plans]
    assert Sampled.MOST / 2 <= len(numbers) <= Sampled.MOST
    assert numbers[0] == 0
    assert numbers[-1] > 9_000
    assert len(set(np.diff(numbers))) == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ttft=2s", "names one target of two"),
        ("ttft=2s,itl=100", "has no unit"),
        ("ttft=2s,itl=0ms", "out of range"),
        ("ttft=2s,ttft=3s", "not one target"),
        ("tpot=2s,itl=1ms", "not one target"),
        ("fast", "not one target"),
        ("ttft=-1s,itl=1ms", "not a number"),
    ],
)
def test_targets_that_cannot_be_read_are_refused(text, named):
    with pytest.raises(Exception, match=named):
        parse_slo(text)


def test_targets_are_read_and_shown():
    slo = parse_slo("itl=100ms, ttft=2s", "p99")
    assert slo == Slo(2.0, 0.1, "p99")
    assert str(slo) == "TTFT ≤ 2 s, p99 ITL ≤ 100 ms"
    with pytest.raises(SloError, match="mean, p99, max"):
        parse_slo("itl=100ms,ttft=2s", "median")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0123, "12.3 ms"),
        (1.5, "1.5 s"),
        (0.1, "100 ms"),
        (123.4, "123 s"),
        (6000, "100 min"),
        (2e-5, "20 µs"),
        (None, "-"),
    ],
)
def test_durations_are_shown_in_the_unit_that_reads_best(seconds, shown):
    assert show_seconds(seconds) == shown


def test_an_array_counts_as_its_values_one_by_one():
    numbers = random.Random(9)
    values = [0.0, 1e-7, 1e-6, 5e5, 2e6, *(numbers.lognormvariate(-4, 3) for _ in range(3000))]
    one, many = Sketch(), Sketch()
    for value in values:
        one.add(value)
    many.add_all(np.array(values))
    assert many._counts == one._counts
    assert (many.count, many.least, many.greatest) == (one.count, one.least, one.greatest)
    assert many.mean == pytest.approx(one.mean)
    many.add_all(np.array([]))
    with pytest.raises(ValueError, match="cannot be counted"):
        many.add_all(np.array([0.1, math.nan]))
