# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexnpu.forecast.rows import Filled, RisingRows, Rows

CORES = 6


def fill(tokens):
    by_cores = (50.0 + tokens[:, None] ** 1.1) / np.arange(1, CORES + 1)
    alone = np.concatenate([np.full((len(tokens), 1), np.inf), by_cores], axis=1)
    return Filled(alone, alone * 1.5, tokens * 0.25, tokens * 0.125)


@pytest.mark.parametrize("rows", [Rows(fill, CORES), RisingRows(fill, CORES)], ids=["rows", "rising"])
@given(st.floats(1.0, 3e6) | st.integers(1, 1 << 22).map(float), st.integers(1, CORES))
def test_the_numbers_for_so_many_cores_are_those_of_the_row(rows, tokens, cores):
    row, single = rows.row(tokens), rows.single(tokens, cores)
    assert single == (row.alone[cores], row.held[cores], row.traffic, row.links)
    assert rows.alone(tokens, cores) == single.alone


@given(st.floats(2048.0, 1e6))
def test_a_number_lies_between_the_rows_around_it(tokens):
    rows = Rows(fill, CORES)
    assert rows.alone(tokens, 2) == pytest.approx((50.0 + tokens**1.1) / 2, rel=1e-6)
