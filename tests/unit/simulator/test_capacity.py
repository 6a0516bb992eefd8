# SPDX-License-Identifier: Apache-2.0
import pytest

from flexnpu.errors import Refused
from flexnpu.planner import POLICIES
from flexnpu.simulator.capacity import HIGHEST, LOWEST, STEPS, Point, Search
from flexnpu.simulator.run import Setup, config_for, run
from flexnpu.simulator.slo import Slo
from flexnpu.simulator.traces import make_trace, totals

SLO = Slo(1.0, 0.1)
LOAD = "rate=1,requests=150,prompt=2000,output=20,seed=3"


@pytest.fixture(scope="module")
def load():
    trace = make_trace([LOAD], ["synthetic"])
    return list(trace), totals(trace).rate


def search(forecaster, load, slo=SLO, policy="chunked", **options):
    return Search(*load, POLICIES[policy](), Setup(forecaster, slo, config_for(slo)), **options)


def test_the_highest_rate_is_met_and_the_next_of_the_grid_is_missed(forecaster, load):
    found = search(forecaster, load)
    answer = found.highest(0.9)
    assert answer.missed_at == pytest.approx(answer.rate * 2 ** (1 / STEPS))
    assert found.point(answer.step).attainment >= 0.9 > found.point(answer.step + 1).attainment


def test_a_higher_attainment_allows_no_higher_rate_and_shares_the_runs(forecaster, load):
    found = search(forecaster, load)
    at_90 = found.highest(0.9)
    runs = len(found.points)
    at_99 = found.highest(0.99, at_90.step)
    assert at_99.rate <= at_90.rate
    assert len(found.points) < 2 * runs + STEPS


def test_the_answer_does_not_depend_on_the_start_where_attainment_falls_evenly(forecaster, load):
    assert {search(forecaster, load).highest(0.9, start)[:3] for start in (0, 40, -100)} == {
        search(forecaster, load).highest(0.9)[:3]
    }


def test_ending_lost_runs_early_changes_no_answer(forecaster, load):
    whole, early = search(forecaster, load), search(forecaster, load, early=True)
    assert early.highest(0.9) == whole.highest(0.9)
    assert early.highest(0.99) == whole.highest(0.99)
    assert early.highest(0.5) == whole.highest(0.5)  # lower than what runs were ended for: they are made again
    assert len(early.curve()) <= len(whole.curve())


def test_targets_that_no_rate_meets_have_no_answer_and_a_ceiling(forecaster, load):
    found = search(forecaster, load, Slo(0.05, 0.1))
    answer = found.highest(0.9)
    assert (answer.rate, answer.step) == (None, None)
    assert answer.missed_at == pytest.approx(load[1] * 2 ** (LOWEST / STEPS))
    assert found.ceiling() == 0.0
    assert len(found.points) == 2


def test_targets_that_every_rate_meets_have_no_rate_that_misses(forecaster, load):
    assert search(forecaster, load, Slo(1e4, 1e3)).highest(0.9).missed_at is None


def test_a_point_is_what_a_run_at_that_rate_gives(forecaster, load):
    found = search(forecaster, load)
    point = found.point(STEPS)  # twice the rate
    setup = Setup(forecaster, SLO, config_for(SLO))
    collector = run(make_trace([LOAD], ["synthetic"]).scaled(2), POLICIES["chunked"](), setup)
    assert point.attainment == pytest.approx(collector.attainment)
    assert point.rate == pytest.approx(2 * load[1])
    assert point.goodput == pytest.approx(collector.good / collector.seconds)


def test_a_pool_that_a_policy_cannot_use_is_refused(forecaster, load):
    with pytest.raises(Refused, match="--pool 1:1"):
        search(forecaster, load, policy="disaggregated").point(0)


def test_an_unwatched_run_gives_the_same_figures(forecaster):
    trace, setup = make_trace([LOAD], ["synthetic"]), Setup(forecaster, SLO, config_for(SLO))
    watched, unwatched = (run(trace, POLICIES["static"](), setup, watched=each).summary() for each in (True, False))
    for each in (watched, unwatched):
        each.pop("mean")
    gaps = watched["latency_s"].pop("itl"), unwatched["latency_s"].pop("itl")
    assert watched == unwatched
    assert [each["count"] for each in gaps] == [150 * 19, 0]
    assert gaps[0]["mean"] == pytest.approx(watched["latency_s"]["tpot"]["mean"])
    assert gaps[0]["max"] == watched["latency_s"]["itl_max"]["max"]


def falling(forecaster, load, *met):
    """A search whose runs are told: attainment 1 up to the first step, 0.95 up to the second, and again from the third
    to the fourth."""

    class Told(Search):
        def _run(self, step, attainment):
            whole, part, again, end = met
            reached = 1.0 if step <= whole or again <= step <= end else 0.95 if step <= part else 0.5
            return Point(step, self.rate * 2 ** (step / STEPS), reached, None, True)

    setup = Setup(forecaster, SLO, config_for(SLO))
    return Told(*load, POLICIES["chunked"](), setup)


@pytest.mark.parametrize("start", [LOWEST, -3, 0, 7, 300, HIGHEST - 3, HIGHEST])
def test_the_search_stays_on_the_grid_and_says_where_it_found_no_limit(forecaster, load, start):
    found = falling(forecaster, load, HIGHEST + 5, HIGHEST + 5, 0, -1)
    answer = found.highest(0.9, start)
    assert (answer.step, answer.missed_at, answer.unlimited) == (HIGHEST, None, True)
    assert max(found.points) == HIGHEST
    found = falling(forecaster, load, 5, 5, 0, -1)
    assert [found.highest(0.9, start)[3], found.highest(0.9, start).unlimited] == [5, False]
    assert LOWEST <= min(found.points) <= max(found.points) <= HIGHEST


@pytest.mark.parametrize("again", [(0, -1), (31, 60), (50, HIGHEST), (LOWEST, LOWEST)])
def test_a_higher_attainment_never_has_a_higher_rate_however_it_rises_and_falls(forecaster, load, again):
    for whole, part in ((10, 30), (30, 30), (-40, 3), (LOWEST - 1, LOWEST - 1), (LOWEST - 1, 4), (5, HIGHEST)):
        at_99, at_90 = falling(forecaster, load, whole, part, *again).answers([0.99, 0.9])
        assert (at_99.attainment, at_90.attainment) == (0.99, 0.9)
        assert (at_99.rate or 0.0) <= (at_90.rate or 0.0)
        assert (at_90.missed_at is not None) or at_90.unlimited
