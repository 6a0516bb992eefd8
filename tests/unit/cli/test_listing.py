# SPDX-License-Identifier: Apache-2.0
"""Rows that keys sort, filter and scroll; steps that are timed."""

from __future__ import annotations

import pytest
from rich.console import Console

from flexnpu.cli.latencies import LONGEST_S, WINDOW_S, Steps
from flexnpu.cli.listing import Column, Listing
from flexnpu.client import Step

ROWS = [("beta", 3), ("alpha", 1), ("gamma", None), ("delta", 3)]


@pytest.fixture
def listing() -> Listing[tuple[str, int | None]]:
    columns = (
        Column[tuple[str, int | None]]("name", "n", lambda row: row[0], rising=True),
        Column[tuple[str, int | None]]("value", "v", lambda row: str(row[1]), lambda row: row[1]),
    )
    return Listing(columns, lambda row: row[0], sort="v")


def names(listing: Listing[tuple[str, int | None]]) -> list[str]:
    return [name for name, _ in listing.ordered(ROWS)]


def lines(listing: Listing[tuple[str, int | None]], height: int | None = None, width: int | None = None) -> list[str]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(listing.draw(ROWS, height, width))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_rows_without_a_value_are_last_whichever_way(listing):
    assert names(listing) == ["beta", "delta", "alpha", "gamma"]
    listing.press("v")
    assert names(listing) == ["alpha", "beta", "delta", "gamma"]


def test_a_columns_key_sorts_by_it_its_natural_way_first(listing):
    listing.press("n")
    assert names(listing) == ["alpha", "beta", "delta", "gamma"]
    listing.press("n")
    assert names(listing) == ["gamma", "delta", "beta", "alpha"]
    listing.press(">")
    assert names(listing)[0] == "beta"
    assert not listing.press("y")


def test_a_filter_takes_letters_that_would_sort(listing):
    for key in ("/", "N", "v", "backspace", "backspace", "t", "A"):
        listing.press(key)
    assert names(listing) == ["beta", "delta"]
    listing.press("enter")
    listing.press("n")
    assert (names(listing), listing.filter) == (["beta", "delta"], "tA")
    listing.press("escape")
    assert len(names(listing)) == 4


def test_rows_scroll_within_their_lines_and_not_beyond(listing):
    assert [line.split()[0] for line in lines(listing, 3)] == ["name", "beta", "delta"]
    listing.press("down")
    assert [line.split()[0] for line in lines(listing, 3)[1:]] == ["delta", "alpha"]
    listing.press("end")
    assert [line.split()[0] for line in lines(listing, 3)[1:]] == ["alpha", "gamma"]
    listing.press("pageup")
    assert [line.split()[0] for line in lines(listing, 3)[1:]] == ["beta", "delta"]


def test_columns_that_do_not_fit_are_left_out(listing):
    assert lines(listing, None, 8)[0] == "name"
    assert lines(listing, None, 80)[0].split() == ["name", "value▼"]


def step(number: int, at_s: float, pid: int = 7) -> Step:
    counts = {"requests": 1, "new_tokens": 1, "context_sum": 9, "context_most": 9, "graph": False}
    return Step(vnpu="a", pid=pid, number=number, at_s=at_s, ended=number - 1, phase="decode", **counts)


def test_a_step_lasts_until_the_next_one_of_its_process_begins():
    steps = Steps()
    for each in (step(1, 0.0), step(2, 0.010), step(2, 0.012), step(1, 0.5, pid=8), step(3, 0.030), step(9, 0.031)):
        steps.take(each, now=100.0)
    latency = steps.latency("a", 101.0)
    assert latency is not None
    assert (latency.median, latency.p99) == (pytest.approx(0.020), pytest.approx(0.020))
    assert latency.per_second == pytest.approx(2 / WINDOW_S)


def test_pauses_are_no_steps_and_what_is_old_is_forgotten():
    steps = Steps()
    steps.take(step(1, 0.0), now=100.0)
    steps.take(step(2, LONGEST_S + 0.1), now=100.0)
    assert steps.latency("a", 100.0) is None
    steps.take(step(3, LONGEST_S + 0.2), now=100.0)
    assert steps.latency("a", 100.0) is not None
    assert steps.latency("a", 100.0 + WINDOW_S) is None
    assert steps.latency("nobody", 100.0) is None
