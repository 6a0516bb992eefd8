# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexnpu._native import Asks, Iteration
from flexnpu.forecast.load import Load
from flexnpu.forecast.rows import Filled, rising_rows, rows

CORES = 6


def fill(tokens):
    by_cores = (50.0 + tokens[:, None] ** 1.1) / np.arange(1, CORES + 1)
    alone = np.concatenate([np.full((len(tokens), 1), np.inf), by_cores], axis=1)
    return Filled(alone, alone * 1.5, tokens * 0.25, tokens * 0.125)


def wavy(tokens):
    """Falls with tokens here and there, and rises with cores."""
    alone, held, traffic, links = fill(tokens)
    waves = 1.0 + 0.5 * np.sin(tokens[:, None] + np.arange(CORES + 1))
    return Filled(alone * waves, held * waves, traffic, links)


# Not at module level: a table holds its `fill`, and a function the module that it is of.
@pytest.fixture(scope="module")
def rising():
    return rising_rows(fill, CORES)


@pytest.fixture(scope="module", params=[rows, rising_rows], ids=["rows", "rising"])
def table(request):
    return request.param(fill, CORES)


@given(st.floats(1.0, 2.0**20) | st.integers(1, 1 << 20).map(float), st.integers(1, CORES))
def test_a_number_of_tokens_lies_between_the_rows_around_it(table, tokens, cores):
    alone, held, traffic, links = table.single(tokens, cores)
    assert alone == pytest.approx((50.0 + tokens**1.1) / cores, rel=1e-3)
    assert held == pytest.approx(1.5 * alone)
    assert (traffic, links) == pytest.approx((tokens * 0.25, tokens * 0.125))


@given(st.lists(st.floats(0.0, 4e6), min_size=2, max_size=6), st.integers(1, CORES))
def test_more_tokens_take_no_less(table, tokens, cores):
    found = [table.single(each, cores) for each in sorted(tokens)]
    assert found == sorted(found)


def test_what_falls_when_filled_rises_in_the_table():
    table = rising_rows(wavy, CORES)
    for cores in range(1, CORES):
        assert table.single(300.0, cores)[0] <= table.single(310.0, cores)[0]
        assert table.single(300.0, cores + 1)[0] <= table.single(300.0, cores)[0]


def test_beyond_the_last_row_time_goes_with_tokens(rising):
    assert rising.single(3.0 * 2**20, 2) == pytest.approx([3.0 * each for each in rising.single(2.0**20, 2)])


def test_rows_are_worked_out_once():
    asked = []

    def counted(tokens):
        asked.append(len(tokens))
        return fill(tokens)

    table = rows(counted, CORES)
    for tokens in (1.0, 5.0, 15.0, 5.0, 2049.0, 2050.5):
        table.single(tokens, 2)
    assert asked == [16, 16]


@pytest.mark.parametrize("tokens", [-1.0, math.nan, math.inf])
def test_no_number_of_tokens_is_refused(tokens):
    with pytest.raises(ValueError, match="tokens"):
        rows(fill, CORES).single(tokens, 1)


def test_a_core_too_many_is_refused():
    with pytest.raises(IndexError):
        rows(fill, CORES).single(1.0, CORES + 1)


def test_what_a_fill_raises_comes_through():
    def broken(tokens):
        raise LookupError("no such operator")

    with pytest.raises(LookupError, match="no such operator"):
        rows(broken, CORES).single(1.0, 1)


class Uneven:
    """Attention whose columns are not of the tables' length."""

    def __init__(self, alone, held):
        self.alone, self.held = np.ones(alone), np.ones(held)

    def by_cores(self, _load):
        return self.alone, self.held, 0.0

    def steps(self, _load, _cores, seen):
        return seen[:-1]


@pytest.mark.parametrize(("alone", "held"), [(CORES + 1, CORES), (CORES, CORES + 1), (CORES, CORES)])
def test_attention_of_another_device_than_the_tables_is_refused(table, alone, held):
    iteration = Iteration([(table, Asks.TOKENS)], Uneven(alone, held), None)
    with pytest.raises(ValueError, match=r"one length|another device"):
        iteration.alone(Load.prefill(8.0), np.empty(CORES + 1))
    with pytest.raises(ValueError, match="one length"):
        iteration.steps(1, Load.decode(1.0, 9.0), np.empty(3))
