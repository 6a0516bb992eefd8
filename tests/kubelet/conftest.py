# SPDX-License-Identifier: Apache-2.0
"""One cluster for all of these tests. They are collected only where run.py started them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
collect_ignore_glob = [] if "FLEXNPU_KUBELET_ROOT" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    from machine import Machine  # noqa: PLC0415 - only where the tests are to run
    from toolchain import make  # noqa: PLC0415

    machine = Machine(Path(os.environ["FLEXNPU_KUBELET_ROOT"]), make())
    try:
        machine.start()
        yield machine
    finally:
        machine.stop()
