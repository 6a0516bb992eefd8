# SPDX-License-Identifier: Apache-2.0
import io
import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from controller_fakes import FakeCores, FakeEngine
from controller_fakes import pair as make_service

from flexnpu.controller import Endpoint, Settings
from flexnpu.controller.command import Controller, on_signals
from flexnpu.controller.config import OptionError, Options, parse_duration, parse_endpoint, parse_split
from flexnpu.planner import Split, Targets


@pytest.fixture
def pair(serve, qwen, tmp_path):
    engines = FakeEngine(waiting=4), FakeEngine(running=8)
    ends = Endpoint("prefill", serve(engines[0].page)), Endpoint("decode", serve(engines[1].page))
    service = make_service(qwen, *ends)
    options = Options((service,), Settings(period=0.01), decisions=tmp_path / "decisions.jsonl")
    return engines, options


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_running_engines_are_followed_until_the_stop(pair):
    (prefill, _), options = pair
    cores, people = FakeCores(), io.StringIO()
    with Controller(options, cores=cores, people=people):
        until(lambda: cores.split.prefill >= 18)
        prefill.waiting = 0
        until(lambda: cores.split == (12, 12))
    lines = [json.loads(line) for line in options.decisions.read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"decision", "outcome"}
    assert "prefill 12 -> " in people.getvalue()
    assert not any(thread.name.startswith(("scrape", "flexnpu-controller")) for thread in threading.enumerate())


def test_targets_out_of_reach_are_said_at_once_and_served_as_well_as_can_be(pair):
    _, options = pair
    cores, people = FakeCores(), io.StringIO()
    service = replace(options.services[0], targets=Targets(ttft=0.01, itl=0.001))
    with Controller(replace(options, services=(service,)), cores=cores, people=people):
        until(lambda: cores.moves)
    first, second = people.getvalue().splitlines()[:2]
    assert "warning: service chat: the ITL target of 1 ms is out of reach: a token after 4096 takes " in first
    assert "warning: service chat: the TTFT target of 10 ms is out of reach: a prompt of 2048 tokens takes " in second
    assert "alone on all 24 cores" in second


def test_a_signal_ends_the_loop_and_leaves_the_safe_split(pair):
    _, options = pair
    cores = FakeCores()
    controller = Controller(options, cores=cores)
    restore = on_signals(controller.ask_to_stop)
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        controller.run()
    finally:
        restore()
    assert len(cores.moves) == 2
    assert cores.split == (12, 12)


def test_a_journal_that_is_full_is_given_up_and_the_loop_goes_on(pair):
    (prefill, _), options = pair
    cores, people = FakeCores(), io.StringIO()
    with Controller(replace(options, decisions=Path("/dev/full")), cores=cores, people=people):
        until(lambda: cores.split.prefill >= 18)
        prefill.waiting = 0
        until(lambda: cores.split == (12, 12))
    assert people.getvalue().count("decisions are written no more (No space left on device)") == 1


def test_one_that_was_never_started_can_be_stopped(pair):
    controller = Controller(pair[1], cores=FakeCores())
    controller.stop()
    assert not any(thread.name.startswith("scrape") for thread in threading.enumerate())


def test_a_journal_that_cannot_be_written_is_refused_before_anything_runs(pair, tmp_path):
    cores = FakeCores()
    with pytest.raises(OptionError, match=r"--decisions .*nowhere.* cannot be written \(No such file"):
        Controller(replace(pair[1], decisions=tmp_path / "nowhere" / "file"), cores=cores)
    assert not cores.moves


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1.0), ("50ms", 0.05), ("250us", 0.00025), ("1.5s", 1.5)])
def test_times_are_read_with_their_unit(text, seconds):
    assert parse_duration(text, "--itl") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "50", "ms", "-1s", "0s", "1h", "nan s"])
def test_a_time_that_is_none_is_refused_by_option(text):
    with pytest.raises(OptionError, match=r"--itl .*; it must be a time over 0 with its unit"):
        parse_duration(text, "--itl")


def test_an_endpoint_is_a_name_and_a_url():
    assert parse_endpoint("p=http://127.0.0.1:8100", "--prefill") == Endpoint("p", "http://127.0.0.1:8100")
    assert parse_endpoint("p", "--prefill") == Endpoint("p")


@pytest.mark.parametrize(
    "text", ["", "no/name", "=http://x", "p=", "p=ftp://x:1", "p=http://", "p=http://x:99999", "p=127.0.0.1:1"]
)
def test_an_endpoint_that_is_none_is_refused_by_option(text):
    with pytest.raises(OptionError, match=r"--prefill .*; it must be NAME=URL"):
        parse_endpoint(text, "--prefill")


def test_a_split_is_two_numbers():
    assert parse_split("12/12", "--safe") == Split(12, 12)
    with pytest.raises(OptionError, match="--safe"):
        parse_split("12", "--safe")
