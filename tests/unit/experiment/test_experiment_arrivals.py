# SPDX-License-Identifier: Apache-2.0
"""How many requests of what length come when."""

import pytest

from flexnpu.errors import InvalidValue
from flexnpu.experiment.arrivals import Estimate, arrivals_of, shorten_gaps
from flexnpu.experiment.description import Load, find
from flexnpu.experiment.stack import MODEL, SOC
from flexnpu.forecast import Forecaster
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.simulator import Arrival


@pytest.fixture(scope="module")
def estimate():
    return Estimate(Forecaster(ModelShape.from_config(MODEL), load_soc(SOC)), 8)


def load(*requests):
    return Load(name="one", requests=requests)


def made(estimate, *requests, seconds=20.0, longest=8000, trace=None):
    return arrivals_of(load(*requests), seconds, estimate, longest, trace)


def test_as_many_come_as_ask_for_that_part_of_the_device(estimate):
    found = made(estimate, {"prompt": 1000, "output": 50, "work": 0.5})
    each = estimate.seconds(1000, 50)
    assert len(found.requests) == int(10 / each)
    assert found.work == pytest.approx(10, abs=each)
    twice = made(estimate, {"prompt": 1000, "output": 50, "work": 0.5}, seconds=40.0)
    assert len(twice.requests) == pytest.approx(2 * len(found.requests), abs=1)


def test_a_longer_request_asks_for_more_and_a_bigger_batch_for_less(estimate):
    assert estimate.seconds(2000, 50) > estimate.seconds(1000, 50) > estimate.seconds(1000, 10)
    assert Estimate(estimate.forecaster, 32).seconds(100, 50) < estimate.seconds(100, 50)


def test_they_come_in_order_within_their_time_and_the_same_each_time(estimate):
    sources = [
        {"prompt": 500, "output": 20, "time": 0.5, "work": 0.5},
        {"prompt": 50, "output": 200, "start": 0.5, "time": 0.5, "work": 0.5},
    ]
    found = made(estimate, *sources)
    at = [each.seconds for each in found.requests]
    assert at == sorted(at)
    assert at[0] == 0.0
    first = [each.seconds for each in found.requests if each.prompt == 500]
    second = [each.seconds for each in found.requests if each.prompt == 50]
    assert max(first) < 10.0
    assert max(first) < min(second)
    assert max(second) < 20.0
    assert made(estimate, *sources) == found


def test_at_once_means_one_right_after_the_other(estimate):
    steady = {"prompt": 500, "output": 20, "work": 0.3}
    found = made(
        estimate, steady, {"prompt": 2000, "output": 2, "start": 0.5, "time": 0.2, "pace": "at once", "work": 1}
    )
    at = [each.seconds for each in found.requests if each.prompt == 2000]
    assert len(at) > 10
    assert max(at) - min(at) < 1e-3 * len(at)


def test_a_time_too_short_for_anything_has_a_few_requests(estimate):
    assert len(made(estimate, {"prompt": 4000, "output": 100, "work": 0.1}, seconds=0.1).requests) == 4


def test_lengths_are_scaled_and_what_the_engine_cannot_hold_is_left_out(estimate, tmp_path):
    trace = tmp_path / "mine.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,1000,100\n1,9000,10\n2,1,1\n")
    source = {"trace": "mooncake_conversation_head.jsonl", "format": "csv", "lengths": 0.5, "work": 4}
    found = made(estimate, source, longest=4000, trace=trace)
    assert sorted((each.prompt, each.output) for each in found.requests) == [(1, 1), (500, 50)]
    assert found.left_out == 1


def test_a_trace_that_cannot_be_read_is_named(estimate, tmp_path):
    with pytest.raises(InvalidValue, match="nowhere"):
        made(estimate, {"trace": "x", "format": "azure", "work": 1}, trace=tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["duetserve-mooncake", "duetserve-azure"])
def test_the_excerpts_that_ship_are_long_enough_for_minutes(estimate, name):
    [one] = find(name).loads
    found = arrivals_of(one, 150.0, estimate, 8191)
    assert found.work == pytest.approx(one.requests[0].work * 150, rel=0.02)


def test_long_gaps_are_shortened_and_short_ones_kept():
    arrivals = [Arrival(at, 1, 1) for at in (0.0, 2.0, 20.0, 21.0, 60.0)]
    assert [each.seconds for each in shorten_gaps(arrivals, 6.0)] == [0, 2, 8, 9, 15]
    assert shorten_gaps([], 6.0) == []
