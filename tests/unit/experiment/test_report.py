# SPDX-License-Identifier: Apache-2.0
import io
import json

import pytest

from flexnpu.experiment.calibrate import Pace, intake_of, scale_for, waits
from flexnpu.experiment.live import result_table
from flexnpu.experiment.picture import Panel, draw
from flexnpu.experiment.report import Cores, Run, Served, Spread, Targets, run_entry, summarise, thinned, to_json
from flexnpu.experiment.stack import StackError

TARGETS = Targets(ttft=1.0, tpot=0.05)


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


def test_what_a_burst_takes_beyond_two_iterations_is_what_each_takes_to_come_in():
    burst = [served(0.0, 0.02, 0.0, output=1), *[served(0.0, 0.1, 0.0, output=1)] * 9]
    assert intake_of(burst, Pace(0.02, 0.01)) == pytest.approx(0.0075)
    assert intake_of(burst, Pace(0.06, 0.01)) == 0.0
    with pytest.raises(StackError, match="did not answer while its pace was measured: refused"):
        intake_of([Served(0.0, 100, 1, (), "refused")], Pace(0.02, 0.01))


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


def test_requests_without_an_answer_have_nulls_in_the_json(run):
    lost = run_entry(run, TARGETS)["requests"][-1]
    names = ("finished", "ttft", "tpot", "latency", "why")
    assert tuple(lost[name] for name in names) == (False, None, None, None, "refused")


def test_gaps_between_tokens_count_one_by_one():
    request = Served(0.0, 1, 3, (1.0, 1.1, 1.4))
    assert summarise(Run("static", (request,), ()), TARGETS).itl == Spread(
        pytest.approx(0.2), pytest.approx(0.2), pytest.approx(0.298)
    )


def test_of_many_samples_those_at_moves_and_the_last_are_kept():
    cores = [Cores(float(n), 18 if n == 51 else 12, 6 if n == 51 else 12, 0, 0) for n in range(100)]
    kept = [each.at for each in thinned(cores, most=10)]
    assert kept == [0, 10, 20, 30, 40, 50, 51, 52, 60, 70, 80, 90, 99]


def test_the_json_has_a_line_for_each_innermost_object_and_reads_back():
    told = {"a": [{"x": 1, "why": "it said {no}"}, {"x": None}], "b": {"c": []}, "d": "é"}
    text = to_json(told)
    assert json.loads(text) == told
    assert '{"x": 1, "why": "it said {no}"}' in text.splitlines()[2]
    with pytest.raises(ValueError, match="JSON"):
        to_json({"a": float("nan")})


@pytest.mark.parametrize("panels", [1, 2])
def test_the_table_and_the_picture_are_drawn_for_all_and_for_nothing(run, panels):
    nothing = Run("static", (), ())
    table = result_table([summarise(each, TARGETS) for each in (nothing, run)], TARGETS, 1.5)
    assert [column.header for column in table.columns] == ["", "static", "controller"]
    file = io.BytesIO()
    draw(file, [Panel("a load", [nothing, run])] * panels, TARGETS, 24, "a title")
    assert file.getvalue().startswith(b"\x89PNG")


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


def test_what_the_device_waits_for_is_the_same_wall_time_at_every_scale():
    device, wall, scale = 0.020, 0.003, 2.0
    slow, paced = Pace(8 * device + wall, 8 * device), Pace(scale * device + wall, scale * device - 1e-4)
    assert waits(slow, paced, scale).prefill == pytest.approx(wall / scale)
    assert waits(slow, paced, scale).decode == 0.0, "noise makes no time come back"
