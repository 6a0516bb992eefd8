# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexnpu.bench.figures import Busy, Spread, histogram, median_interval


def busy(*intervals: tuple[float, float]) -> Busy:
    starts, ends = np.array(intervals, dtype=float).reshape(-1, 2).T
    return Busy.of(ends, ends - starts)


def test_a_percentile_is_one_of_the_samples():
    spread = Spread.of(float(value) for value in range(1, 101))
    assert (spread.least, spread.median, spread.p90, spread.p99, spread.most) == (1, 50.5, 90, 99, 100)
    assert spread.p999 == 100
    assert Spread.of([7.0]).p99 == 7.0


def test_without_samples_there_is_no_spread():
    with pytest.raises(ValueError, match="no samples"):
        Spread.of([])


def test_a_histogram_counts_each_sample_once_and_an_edge_with_what_is_below_it():
    assert histogram([0, 0.5, 1, 1.5, 9], [1, 2]) == [3, 1, 1]
    assert histogram([], [1, 2]) == [0, 0, 0]


def test_an_operator_counts_in_a_window_by_what_of_it_lies_inside():
    tenant = busy((0, 2), (3, 5))
    assert tenant.within(1, 4) == pytest.approx(2)
    assert tenant.within(2, 3) == 0
    assert busy().within(0, 1) == 0


def test_shares_of_windows_slide_over_the_run():
    tenant = busy((0, 1), (2, 3))
    np.testing.assert_allclose(tenant.shares(0, 4, window=2, step=1), [0.5, 0.5, 0.5])
    np.testing.assert_allclose(tenant.shares(0.5, 3.5, window=1, step=1), [0.5, 0.5, 0.5])
    np.testing.assert_allclose(busy().shares(0, 2, window=1, step=1), [0, 0])


intervals = st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 1)), min_size=1, max_size=30)


@given(intervals, st.floats(0, 20), st.floats(0.1, 5))
def test_a_windows_share_is_what_lies_within_it(pieces: list[tuple[float, float]], start: float, window: float):
    times = np.cumsum(np.array(pieces).reshape(-1))
    tenant = Busy.of(times[1::2], np.diff(times)[::2])
    (share,) = tenant.shares(start, start + window, window, step=1000)
    assert share * window == pytest.approx(tenant.within(start, start + window), abs=1e-9)


def test_gaps_lie_between_an_end_and_the_next_start():
    tenant = busy((0, 1), (1, 2), (5, 6), (8, 9))
    np.testing.assert_allclose(tenant.between(0, 10), [[1, 2, 6], [1, 5, 8]])
    np.testing.assert_allclose(tenant.between(0, 6), [[1, 2], [1, 5]])


def test_a_start_before_the_last_end_is_the_clocks_grain_and_no_overlap():
    tenant = Busy.of(np.array([1.0, 1.9]), np.array([1.0, 1.0]))
    assert tenant.within(0, 3) == pytest.approx(1.9)
    np.testing.assert_allclose(tenant.between(0, 3), [[1], [1]])


def test_what_runs_at_a_moment_still_takes_until_its_end():
    tenant = busy((1, 3), (4, 5))
    np.testing.assert_allclose(tenant.running_at(np.array([0.5, 1, 2, 3, 4.5, 6])), [0, 2, 1, 0, 0.5, 0])
    np.testing.assert_allclose(busy().running_at(np.array([1.0])), [0])


def test_the_median_lies_between_two_samples_that_close_in_on_it():
    values = np.arange(1000)
    low, high = median_interval(values)
    assert low <= np.median(values) <= high
    assert high - low < 70
    assert median_interval([1.0, 2.0]) == (1.0, 2.0)
