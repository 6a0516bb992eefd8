# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path

import pytest

from flexnpu.demo.calibrate import Pace, scale_for
from flexnpu.demo.live import result_table
from flexnpu.demo.picture import draw
from flexnpu.demo.report import Cores, Run, Served, Spread, Targets, document, summarise

TARGETS = Targets(ttft=1.0, tpot=0.05)
PAGE = Path(__file__).parents[3] / "docs/demo.md"


def served(arrived, first, gap, output=3, why=None):
    return Served(arrived, 100, output, tuple(first + gap * n for n in range(output)), why)


@pytest.fixture
def run():
    good = served(0.0, 0.5, 0.04)
    late = served(1.0, 2.5, 0.04)
    slow = served(1.0, 1.5, 0.06)
    cut = Served(2.0, 100, 3, (2.1,), "the answer ended before its last token")
    lost = Served(2.0, 100, 3, (), "refused")
    cores = (Cores(0.0, 12, 12, 1, 0), Cores(1.0, 18, 6, 0, 1))
    return Run("controller", (good, late, slow, cut, lost), cores, (0.004, None, 0.002))


def test_latencies_are_those_of_a_request():
    request = served(1.0, 1.4, 0.05, output=5)
    assert request.ttft == pytest.approx(0.4)
    assert request.tpot == pytest.approx(0.05)
    assert request.latency == pytest.approx(0.6)
    assert served(1.0, 1.4, 0.05, output=1).tpot is None


def test_a_single_token_is_good_by_its_first_token_alone():
    assert served(0.0, 0.5, 9.0, output=1).meets(TARGETS)


def test_goodput_counts_late_slow_cut_and_lost_requests_as_misses(run):
    summary = summarise(run, TARGETS)
    assert (summary.requests, summary.finished) == (5, 3)
    assert summary.attainment == pytest.approx(1 / 5)
    assert summary.seconds == pytest.approx(2.58)
    assert summary.goodput == pytest.approx(1 / 2.58)
    assert summary.requests_per_second == pytest.approx(3 / 2.58)
    assert summary.tokens_per_second == pytest.approx(3 * 103 / 2.58)


def test_latencies_of_unfinished_requests_do_not_flatter_the_mean(run):
    assert summarise(run, TARGETS).ttft.mean == pytest.approx((0.5 + 1.5 + 0.5) / 3)


def test_percentiles_are_interpolated():
    assert Spread.of([1.0, 2.0, 3.0, 4.0]) == Spread(2.5, 2.5, pytest.approx(3.97))
    assert Spread.of([]) == Spread(None, None, None)


def test_moves_that_were_not_applied_in_time_are_counted_apart(run):
    summary = summarise(run, TARGETS)
    assert (summary.moves, summary.moves_unapplied) == (3, 1)
    assert summary.applied_wall.mean == pytest.approx(0.003)


def test_a_run_in_which_nothing_was_answered_has_no_figures():
    summary = summarise(Run("static", (Served(0.0, 1, 1, (), "refused"),), ()), TARGETS)
    assert (summary.finished, summary.goodput, summary.attainment) == (0, 0.0, 0.0)
    assert summary.ttft == Spread(None, None, None)


def fields(value, inside=""):
    """Names of all fields, with dots between levels; a list counts by its first item."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{inside}{name}"
            yield from fields(each, f"{inside}{name}.")
    elif isinstance(value, list) and value:
        yield from fields(value[0], inside)


def test_the_page_names_every_field_of_the_json(run):
    setting = {
        "soc": "x",
        "model": "x",
        "trace": "x",
        "minutes": 3.0,
        "static": {"prefill": 12, "decode": 12},
        "longest_gap": 6.0,
    }
    pace = {"prefill": 0.1, "decode": 0.1}
    told = json.loads(json.dumps(document([run], TARGETS, {**setting, "host": pace, "device": pace, "scale": 1.0})))
    named = set(re.findall(r"^\| `([\w.]+)`", PAGE.read_text(), flags=re.M))
    assert named == set(fields(told))


def test_requests_without_an_answer_have_nulls_in_the_json(run):
    lost = document([run], TARGETS, {})["runs"][0]["requests"][-1]
    assert (lost["finished"], lost["ttft"], lost["tpot"], lost["latency"], lost["why"]) == (
        False,
        None,
        None,
        None,
        "refused",
    )


def test_the_table_and_the_picture_are_drawn_for_all_and_for_nothing(run, tmp_path):
    nothing = Run("static", (), ())
    table = result_table([summarise(each, TARGETS) for each in (nothing, run)], TARGETS, 1.5)
    assert [column.header for column in table.columns] == ["", "static", "controller"]
    draw(tmp_path / "out" / "demo.png", [nothing, run], TARGETS, 1.5)
    assert (tmp_path / "out" / "demo.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("host", "device", "scale"),
    [
        (Pace(0.010, 0.005), Pace(0.030, 0.020), 1.0),  # a host that is fast enough slows nothing
        (Pace(0.010, 0.020), Pace(0.030, 0.020), 1.5),  # decode decides, with room
        (Pace(0.090, 0.005), Pace(0.030, 0.020), 4.5),  # prefill decides
        (Pace(0.010, 0.0201), Pace(0.030, 0.020), 1.6),  # rounded up
    ],
)
def test_the_clock_is_slowed_until_the_device_is_the_slower_one(host, device, scale):
    assert scale_for(host, device) == pytest.approx(scale)
