# SPDX-License-Identifier: Apache-2.0
"""Programs on the software NPU, each in a process of its own: the device is chosen when the dynamic linker starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flexnpu.backend import SoftwareOptions, software_environment

Run = Callable[..., Any]


def merged(environment: Mapping[str, str]) -> dict[str, str]:
    """The test's own environment with a device's, library paths before those that are there."""
    known = os.environ.get("LD_LIBRARY_PATH")
    path = environment["LD_LIBRARY_PATH"]
    return {**os.environ, **environment, "LD_LIBRARY_PATH": f"{path}:{known}" if known else path}


@pytest.fixture
def state_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="softnpu-") as directory:
        yield Path(directory)


@pytest.fixture
def on_device(state_dir: Path) -> Run:
    """Runs Python code on the software NPU; the code prints one line of JSON last, which is returned."""

    def run(code: str, **options: Any) -> Any:
        environment = merged(software_environment(SoftwareOptions(**options), state_dir))
        command = [sys.executable, "-c", "import json, torch, torch_npu\n" + code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
