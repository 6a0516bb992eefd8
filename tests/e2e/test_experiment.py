# SPDX-License-Identifier: Apache-2.0
"""The smallest experiment: two engines, the daemon and the controller, all real, and the simulator beside them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

EXPERIMENT = [sys.executable, "-m", "flexnpu.cli.main", "experiment"]


def run(*arguments):
    return subprocess.run([*EXPERIMENT, *arguments], capture_output=True, text=True, check=False, timeout=280)


@pytest.mark.timeout(300)
def test_a_quick_burst_is_answered_under_both_policies_and_told_beside_the_simulator(tmp_path):
    files = [tmp_path / "out" / f"burst.{kind}" for kind in ("json", "md", "png")]
    written = ["--json", str(files[0]), "--markdown", str(files[1]), "--png", str(files[2])]
    ended = run("run", "burst", "--quick", "--policy", "split", *written)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    told = json.loads(files[0].read_text())
    [load] = told["loads"]
    static, controlled = load["runs"]
    assert load["requests"] >= 8
    for each in (static, controlled):
        assert each["summary"]["finished"] == load["requests"], [one["why"] for one in each["requests"]]
        assert each["simulated"]["finished"] == load["requests"]
        assert all(value is not None for value in each["difference"].values())
    assert static["summary"]["moves"] == 0
    assert controlled["summary"]["moves"] > controlled["summary"]["moves_unapplied"], "no move was acknowledged"
    assert "controller, split" in files[1].read_text()
    assert "(burst.png)" in files[1].read_text()
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_the_experiments_are_listed_with_their_titles():
    ended = run("list")
    assert ended.returncode == 0
    assert ended.stdout.startswith("burst")
    assert "flexnpu-table" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing",), "experiment 'nothing' does not exist"),
        (("burst", "--trace", "x.csv"), "burst has no trace"),
        (("duetserve-azure", "--trace", "/nowhere.csv"), "/nowhere.csv"),
        (("burst", "--json", "/proc/nowhere/x.json"), "/proc/nowhere/x.json cannot be written"),
        (("burst", "--policy", "fast"), "fast"),
    ],
)
def test_what_cannot_be_run_is_named_in_one_line_before_anything_starts(arguments, says):
    ended = run("run", *arguments)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
