# SPDX-License-Identifier: Apache-2.0
"""flexnpu softnpu top beside programs that compute."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.environment import merged

BUSY = """
import torch, torch_npu
x = torch.empty(8192, 8192, device="npu", dtype=torch.float16)
print("ready", flush=True)
while True:
    for _ in range(20):
        x @ x
    torch.npu.synchronize()
"""


def top(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flexnpu.cli.main", "softnpu", "top", "--once", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_who_holds_the_cores_is_shown_with_memory_and_program(state_dir):
    options = SoftwareOptions(clock="paced", math="skip")
    environment = merged(os.environ, software_environment(options, state_dir))
    command = [sys.executable, "-c", BUSY]
    programs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for program in programs:
            assert program.stdout is not None
            assert "ready\n" in program.stdout
        (device,) = json.loads(top("--json", str(state_dir)).stdout)["devices"]
    finally:
        for program in programs:
            program.kill()
            program.communicate()
    assert device["modelled"] is True
    assert {process["pid"] for process in device["processes"]} == {program.pid for program in programs}
    assert all(
        process["memory_used"] >= 2 * 8192**2 and "python" in process["program"] for process in device["processes"]
    )
    # Whole-device matrices take turns: together they hold the cores nearly all the time, and neither starves.
    held = [process["cores_mean"] for process in device["processes"]]
    assert sum(held) == pytest.approx(device["cube_cores"], rel=0.2)
    assert min(held) > 0.1 * device["cube_cores"]
    assert "no program" in top(str(state_dir)).stdout


def test_a_directory_that_is_not_there_is_named(tmp_path):
    done = top(str(tmp_path / "nowhere"))
    assert done.returncode != 0
    assert "nowhere" in done.stderr
