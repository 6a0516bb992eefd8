# SPDX-License-Identifier: Apache-2.0
import pytest

from flexnpu.tenancy import Buckets, Tally

BOUNDS = (0.1, 0.2, 0.4)


def test_a_tally_counts_what_is_as_large_as_a_bound_in_its_bucket():
    tally = Tally(BOUNDS)
    for value in (0.05, 0.1, 0.3):
        tally.observe(value)
    tally.observe(7.0, times=2)
    told = tally.buckets()
    assert told.counts == (2, 0, 1, 2)
    assert told.total == 5
    assert told.sum == pytest.approx(14.45)


def test_a_limit_within_a_bucket_takes_its_part_of_that():
    seen = Buckets(BOUNDS, (10, 10, 20, 5), 0.0)
    assert seen.at_most(0.2) == 20
    assert seen.at_most(0.25) == pytest.approx(25)
    assert seen.at_most(0.05) == pytest.approx(5)
    assert seen.at_most(99.0) == 40, "nobody knows how long those above all bounds took"


def test_what_came_since_is_a_difference():
    before, now = Buckets(BOUNDS, (1, 2, 0, 0), 0.5), Buckets(BOUNDS, (1, 5, 1, 0), 1.5)
    assert now.since(before) == Buckets(BOUNDS, [0, 3, 1, 0], 1.0)
    assert now.since(None) == now


def test_a_histogram_that_began_anew_is_all_new():
    before, now = Buckets(BOUNDS, (100, 0, 0, 0), 5.0), Buckets(BOUNDS, (3, 0, 0, 0), 0.2)
    assert now.since(before) == now
    assert now.since(Buckets((1.0,), (2, 0), 1.0)) == now
