# SPDX-License-Identifier: Apache-2.0
"""Programs on the software NPU, each in a process of its own: the device is chosen when the dynamic linker starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.environment import merged

Run = Callable[..., Any]


@pytest.fixture
def state_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="softnpu-") as directory:
        yield Path(directory)


@pytest.fixture
def on_device(state_dir: Path) -> Run:
    """Runs Python code on the software NPU; the code prints one line of JSON last, which is returned."""

    def run(code: str, **options: Any) -> Any:
        environment = merged(os.environ, software_environment(SoftwareOptions(**options), state_dir))
        program = state_dir / "program.py"  # a file, so that it can start processes of its own
        program.write_text("import json, torch, torch_npu\n" + code)
        command = [sys.executable, program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
