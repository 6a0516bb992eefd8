# SPDX-License-Identifier: Apache-2.0
"""What commands print, in a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flexnpu import __version__
from flexnpu.cli.output import facts, print_json, print_json_line, printable, show, table
from flexnpu.client import Move

LOAD = "rate=2,requests=10,prompt=1000,output=20,seed=3"


def test_tables_in_a_pipe_are_neither_folded_nor_filled(capsys: pytest.CaptureFixture[str]):
    show(table("things", ("name", "what"), [("a", "x" * 120), ("b", "[red]y[/red]")]), table("others", ("n",), []))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "things"
    assert lines[2].endswith("x" * 120)
    assert lines[3].split() == ["b", "[red]y[/red]"]  # no markup
    assert lines[4] == "others: none"
    show(facts("of a", [("one", 1)]))
    assert capsys.readouterr().out == "of a\n one  1\n"


def test_nothing_that_a_terminal_would_obey_is_printed(capsys: pytest.CaptureFixture[str]):
    assert printable("a\x1b[2Jb\nc\tä") == "a?[2Jb?c?ä"
    show(table("things", ("name",), [("\x1b]0;title\x07",)]))
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("program", ["flexnpu.cli.main", "flexnpu.daemon.main"])
def test_each_command_says_its_version(program: str):
    command = [sys.executable, "-m", program, "--version"]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    name = {"flexnpu.cli.main": "flexnpu", "flexnpu.daemon.main": "flexnpud"}[program]
    assert (told.returncode, told.stdout, told.stderr) == (0, f"{name} {__version__}\n", "")


def test_models_are_printed_as_they_cross_the_wire(capsys: pytest.CaptureFixture[str]):
    print_json({"moves": [Move(vnpu="a", cores=3)]})
    document = capsys.readouterr().out
    assert document.count("\n") > 5
    print_json_line({"moves": [Move(vnpu="a", cores=3)]})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == json.loads(document)
    with pytest.raises(TypeError, match="Path"):
        print_json({"a": Path()})


def test_a_command_with_tables_has_json_alone_on_stdout():
    options = ["--trace", LOAD, "--format", "synthetic", "--model", "Qwen2.5-7B", "--policy", "chunked"]
    command = [sys.executable, "-m", "flexnpu.cli.main", "simulate", "--json", "-", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["policies"]
    assert "chunked" in done.stderr
