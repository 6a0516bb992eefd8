# SPDX-License-Identifier: Apache-2.0
"""What is written of an experiment."""

import json
import re
from pathlib import Path

import pytest

from flexnpu.experiment.arrivals import Arrivals
from flexnpu.experiment.calibrate import Calibration, Pace
from flexnpu.experiment.costs import Costs, Ways
from flexnpu.experiment.description import find
from flexnpu.experiment.document import Pair, Result, Setting, differences, document, markdown
from flexnpu.experiment.machine import machine
from flexnpu.experiment.report import Cores, Run, Served, Targets, summarise, to_json
from flexnpu.simulator import Arrival

PAGE = Path(__file__).parents[3] / "docs/experiments.md"
CALIBRATION = Calibration(Pace(0.02, 0.01), 0.001, Pace(0.03, 0.014), 2.0, Pace(0.003, 0.002))
COSTS = Costs(Pace(0.012, 0.001), Pace(0.98, 1.1))
WAYS = Ways(COSTS, COSTS, COSTS)
SETTING = Setting("Ascend910B2", "qwen", 24, False, CALIBRATION, {"prefill": 0.031, "decode": 0.0141}, machine())


def run(name, first, gap):
    return Run(
        name, (Served(0.0, 100, 3, (first, first + gap, first + 2 * gap)),), (Cores(0.0, 12, 12, 1, 0),), (0.004,)
    )


@pytest.fixture
def results():
    load = Arrivals("one", (Arrival(0.0, 100, 3),), 2, 10.0, 6.0)
    static = Pair(run("static 12/12", 0.5, 0.04), run("static 12/12", 0.55, 0.03))
    return [Result(load, WAYS, [static, Pair(run("controller, auto", 0.2, 0.04), None)])]


def fields(value, inside=""):
    """Names of all fields, with dots between levels; a list counts by its first item."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{inside}{name}"
            yield from fields(each, f"{inside}{name}.")
    elif isinstance(value, list) and value:
        yield from fields(value[0], inside)


def test_the_page_names_every_field_of_the_json(results):
    told = json.loads(to_json(document(find("burst"), SETTING, results)))
    named = set(re.findall(r"^\| `([\w.]+)`", PAGE.read_text().partition("## The JSON")[2], flags=re.M))
    # A run's own fields are those of the demo, and its page names them.
    shared = {name for name in fields(told) if re.match(r"loads\.runs\.(cores|requests|summary|simulated)\.", name)}
    assert named == set(fields(told)) - shared


def test_the_json_says_what_was_modelled_what_ran_and_where(results):
    told = document(find("burst"), SETTING, results)
    assert "modelled" in told["modelled"]
    assert "pd_serving" in told["ran"]
    assert told["setting"]["calibration"]["scale"] == 2.0
    assert told["setting"]["machine"]["cores"] >= 1
    static, controlled = told["loads"][0]["runs"]
    assert static["difference"]["ttft"] == pytest.approx(10)
    assert static["difference"]["tpot"] == pytest.approx(-25)
    assert "moves" not in static["simulated"]
    assert (controlled["simulated"], controlled["difference"]) == (None, None)


def test_a_run_that_answered_nothing_differs_by_nothing(results):
    nothing = Run("static", (Served(0.0, 1, 1, (), "refused"),), ())
    both = summarise(nothing, Targets()), summarise(results[0].pairs[0].live, Targets())
    assert differences(*both) == {"ttft": None, "tpot": None, "tokens_per_second": None}


def test_the_tables_have_a_column_for_each_policy_and_the_simulator_beside(results):
    text = markdown(find("burst"), SETTING, results, "burst.png")
    assert "| | static 12/12 | controller, auto |" in text
    assert "| TTFT, mean / p50 / p99 | 500 ms / 500 ms / 500 ms | 200 ms / 200 ms / 200 ms |" in text
    assert "| one, static 12/12 | 500 ms, 550 ms | +10.0 % | 40.0 ms, 30.0 ms | -25.0 % |" in text
    assert "the simulator has no such policy" in text
    assert "(burst.png)" in text
    assert "take 0.98 and 1.10 times what the simulator makes of them on parted cores;" in text
    assert "goes first, which cost 12.0 ms and 1.0 ms where the other is idle." in text
    assert "**Modelled**" in text
    assert "2 that do not fit the engine left out" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4, 8}
