# SPDX-License-Identifier: Apache-2.0
"""A daemon in a fresh directory."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_node import Node


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty libraries in the places of the real ones: these tests are about the daemon, their tenants are fakes."""
    root = tmp_path_factory.mktemp("lib")
    (root / "softnpu").mkdir()
    for name in ("libflexnpu.so", "softnpu/libascendcl.so"):
        subprocess.run(["cc", "-shared", "-x", "c", "/dev/null", "-o", str(root / name)], check=True)
    return root


@pytest.fixture
def quiet_node(libraries: Path) -> Iterator[Node]:
    """A runtime directory without a daemon. Sockets' paths are short, so it is not pytest's."""
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", libraries)
    yield node
    node.clean_up()
    shutil.rmtree(parent)


@pytest.fixture
def node(quiet_node: Node) -> Node:
    quiet_node.start()
    return quiet_node
