# SPDX-License-Identifier: Apache-2.0
"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexnpu.errors import InvalidValue
from flexnpu.units import format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("8GiB", 8 * 2**30), ("512 MiB", 2**29), ("1.5gb", 1_500_000_000), ("4096", 4096), ("1B", 1), ("1024TiB", 2**50)],
)
def test_a_size_is_read(text: str, bytes_: int):
    assert parse_size(text) == bytes_


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "0", "8GiBi", "8 8GiB", "1025TiB", "1e3", "nan"])
def test_a_bad_size_is_named_with_an_example(text: str):
    with pytest.raises(InvalidValue) as refused:
        parse_size(text)
    assert repr(text) in str(refused.value)
    assert "8GiB" in str(refused.value)


@pytest.mark.parametrize(("text", "seconds"), [("50ms", 0.05), ("1s", 1.0), ("200us", 2e-4), ("2min", 120.0)])
def test_a_duration_is_read(text: str, seconds: float):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "50", "0ms", "-1s", "soon", "90000s", "5 hours"])
def test_a_bad_duration_is_named_with_an_example(text: str):
    with pytest.raises(InvalidValue) as refused:
        parse_duration(text)
    assert repr(text) in str(refused.value)
    assert "50ms" in str(refused.value)


@given(st.integers(1, 2**49))
def test_what_is_shown_can_be_typed_back(bytes_: int):
    assert parse_size(format_size(bytes_)) == pytest.approx(bytes_, rel=1e-3)
