# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a daemon in a fresh directory. A folder's conftest.py imports those that its tests use."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def _runtime_directory(libraries: Path) -> Iterator[Node]:
    """Sockets' paths are short, so it is not pytest's."""
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", libraries)
    try:
        yield node
    finally:
        node.clean_up()
        shutil.rmtree(parent)


@pytest.fixture
def quiet_node(libraries: Path) -> Iterator[Node]:
    """A runtime directory without a daemon."""
    with _runtime_directory(libraries) as node:
        yield node


@pytest.fixture(scope="module")
def lasting_node(libraries: Path) -> Iterator[Node]:
    """A daemon of all tests of a module, which leave it as they found it."""
    with _runtime_directory(libraries) as node:
        node.start()
        yield node


@pytest.fixture
def node(quiet_node: Node) -> Node:
    quiet_node.start()
    return quiet_node
