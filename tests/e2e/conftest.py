# SPDX-License-Identifier: Apache-2.0
"""A daemon over the built libraries: unmodified programs, the interposer and the software NPU, all real."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_node import Node

from flexnpu.paths import library_dir


@pytest.fixture
def node() -> Iterator[Node]:
    """A paced, math-skipping Ascend910B2 that several programs may share."""
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", library_dir())
    node.start("--soc", "Ascend910B2", "--clock", "paced", "--math", "skip", "--scale", "2")
    yield node
    node.clean_up()
    shutil.rmtree(parent)
