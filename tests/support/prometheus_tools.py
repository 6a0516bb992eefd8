# SPDX-License-Identifier: Apache-2.0
"""Prometheus and promtool: from PATH, or from where the Makefile unpacks Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / "build/prometheus/usr/bin"


def tool(name: str) -> str:
    """Its path; the test is skipped where it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{UNPACKED}")
    if found is None:
        pytest.skip(f"{name} is not installed; apt-get install prometheus, or make build/stamps/prometheus")
    return found


def promtool(*arguments: str, given: str | None = None) -> str:
    """What it says; AssertionError with that where it finds fault."""
    command = [tool("promtool"), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
