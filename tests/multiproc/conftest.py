# SPDX-License-Identifier: Apache-2.0
"""A daemon of one's own in a fresh directory, programs on its vNPUs, and the promise that nothing is left of either."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flexnpu.client import Client
from flexnpu.errors import DaemonError

FAKE_TENANT = str(Path(__file__).with_name("fake_tenant.py"))
GIB = 2**30


def eventually(condition: Callable[[], Any], within: float = 20.0) -> Any:
    """The condition's value once it is true."""
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.005)
    return value


class Program:
    """A running process whose stdout is JSON lines."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, self.end()[1]
        return json.loads(text)

    def kill(self, number: int = signal.SIGKILL) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Node:
    """A runtime directory with (most of the time) a daemon."""

    def __init__(self, root: Path, libraries: Path) -> None:
        self.root = root
        self.env = {**os.environ, "FLEXNPU_RUNTIME_DIR": str(root), "FLEXNPU_LIB_DIR": str(libraries)}
        self.daemon: Program | None = None
        self.programs: list[Program] = []

    def start(self, *options: str) -> Program:
        self.daemon = self.launch(*options)
        eventually(self._answers)
        return self.daemon

    def launch(self, *options: str) -> Program:
        """A daemon that may well end at once."""
        return self._run([sys.executable, "-m", "flexnpu.daemon.main", *options])

    def flexnpu(self, *arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "flexnpu.cli.main", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def tenant(self, name: str, cores: int, *orders: str, memory: str = "1GiB") -> Program:
        """A fake tenant under `flexnpu run`, attached."""
        options = ["--name", name, "--cores", str(cores), "--memory", memory]
        return self.program("run", *options, "--", sys.executable, FAKE_TENANT, *orders)

    def program(self, *arguments: str) -> Program:
        return self._run([sys.executable, "-m", "flexnpu.cli.main", *arguments])

    def client(self) -> Client:
        return Client(self.root)

    def ps(self) -> dict[str, list[dict[str, Any]]]:
        code, out, errors = self.flexnpu("ps", "--json")
        assert code == 0, errors
        return json.loads(out)

    def clean_up(self) -> None:
        for program in reversed(self.programs):
            program.clean_up()

    def _run(self, command: list[str]) -> Program:
        program = Program(command, self.env)
        self.programs.append(program)
        return program

    def _answers(self) -> bool:
        assert self.daemon is not None
        assert self.daemon.process.poll() is None, self.daemon.end()[1]
        try:
            with self.client() as client:
                return bool(client.version())
        except DaemonError:
            return False


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
