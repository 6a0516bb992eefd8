# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path

import pytest

from flexnpu.demo.command import TRACE, document
from flexnpu.experiment.report import Cores, Run, Served, Targets
from flexnpu.simulator.traces import make_trace

PAGE = Path(__file__).parents[3] / "docs/demo.md"


def fields(value, inside=""):
    """Names of all fields, with dots between levels; a list counts by its first item."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{inside}{name}"
            yield from fields(each, f"{inside}{name}.")
    elif isinstance(value, list) and value:
        yield from fields(value[0], inside)


def test_the_page_names_every_field_of_the_json():
    run = Run("controller", (Served(0.0, 100, 2, (0.5, 0.54)),), (Cores(0.0, 12, 12, 1, 0),), (0.004,))
    pace = {"prefill": 0.1, "decode": 0.1}
    setting = {
        "soc": "x",
        "model": "x",
        "trace": "x",
        "minutes": 3.0,
        "static": {"prefill": 12, "decode": 12},
        "longest_gap": 6.0,
        "host": pace,
        "device": pace,
        "scale": 1.0,
        "waits": pace,
    }
    told = json.loads(json.dumps(document([run], Targets(), setting)))
    named = set(re.findall(r"^\| `([\w.]+)`", PAGE.read_text(), flags=re.M))
    assert named == set(fields(told))


@pytest.mark.parametrize(("minutes", "requests"), [(3, 63), (5, 760)])
def test_the_trace_that_is_shipped_has_as_many_requests(minutes, requests):
    arrivals = [each.seconds for each in make_trace([str(TRACE)], ["azure"])]
    assert sum(at < minutes * 60 for at in arrivals) == requests
