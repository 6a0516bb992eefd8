# SPDX-License-Identifier: Apache-2.0
"""The demo on the first seconds of its trace: two engines, the daemon and the controller, all real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import foreground
import pytest

DEMO = [sys.executable, "-m", "flexnpu.cli.main", "demo", "--minutes", "0.05"]


def left_behind(folder: Path) -> list[str]:
    """Processes of a demo whose temporary files were to be in `folder`, and those files."""
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                said = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in said and entry.name != str(os.getpid()):
                processes.append(entry.name)
    return processes + [str(path) for path in folder.glob("flexnpu*")]


@pytest.fixture
def demo():
    """Starts the demo with its temporary files in a folder of the test's, whose sockets have short names."""
    folder = Path(tempfile.mkdtemp(prefix="fx-"))
    started = []

    def start(*arguments):
        environment = {**os.environ, "TMPDIR": str(folder)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(foreground.start([*DEMO, *arguments], env=environment, **pipes))
        return started[-1], folder

    yield start
    for process in started:
        process.kill()
        process.communicate()
    shutil.rmtree(folder)


@pytest.mark.timeout(300)
def test_both_policies_answer_every_request_and_the_controller_moves_cores(demo, tmp_path):
    file, picture = tmp_path / "out" / "demo.json", tmp_path / "out" / "demo.png"
    process, folder = demo("--json", str(file), "--png", str(picture))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert err == ""
    told = json.loads(file.read_text())
    static, controlled = (run["summary"] for run in told["runs"])
    assert static["requests"] == static["finished"] == controlled["finished"] == 12
    assert (static["moves"], static["cores"]) == (0, {"prefill": 12.0, "decode": 12.0})
    assert controlled["moves"] > controlled["moves_unapplied"], "no move was acknowledged in time"
    assert controlled["cores"]["prefill"] > 12
    assert "modelled" in told["note"]
    assert "modelled" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert left_behind(folder) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_behind(demo, tmp_path, number):
    file = tmp_path / "demo.json"
    process, folder = demo("--json", str(file))
    end = time.monotonic() + 60
    while not list(folder.glob("flexnpu-experiment-*/prefill.log")):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert left_behind(folder) == []
    assert not file.exists()


def test_a_result_file_that_cannot_be_written_is_named_at_once(demo):
    process, folder = demo("--json", "/proc/nowhere/demo.json")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("flexnpu: error: /proc/nowhere/demo.json cannot be written (")
    assert err.count("\n") == 1
    assert left_behind(folder) == []
