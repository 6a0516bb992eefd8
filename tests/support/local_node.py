# SPDX-License-Identifier: Apache-2.0
"""A daemon of one's own, and programs on its vNPUs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flexnpu.client import Client
from flexnpu.errors import DaemonError

FAKE_TENANT = str(Path(__file__).with_name("fake_tenant.py"))
GIB = 2**30


def eventually(condition: Callable[[], Any], within: float = 60.0) -> Any:
    """The condition's value once it is true."""
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.005)
    return value


class Program:
    """A running process whose stdout is JSON lines."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.pid = self.process.pid

    def say(self, text: str) -> None:
        """A line on its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while text := self.process.stdout.readline():
            if text.startswith("{"):  # torch_npu warns on stdout
                return json.loads(text)
        raise AssertionError(self.end()[1])

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

    def fake(self, vnpu: str, *orders: str) -> Program:
        """A fake tenant of a vNPU that is there already."""
        env = {**self.env, "FLEXNPU_SOCKET": self.attach_socket, "FLEXNPU_VNPU": vnpu}
        return self._run([sys.executable, FAKE_TENANT, *orders], env)

    @property
    def attach_socket(self) -> str:
        return str(self.root / "attach.sock")

    def kill(self) -> None:
        """The daemon, at once."""
        assert self.daemon is not None
        self.daemon.kill()

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

    def _run(self, command: list[str], env: dict[str, str] | None = None) -> Program:
        program = Program(command, env or self.env)
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


def listening(node: Node, *options: str) -> str:
    """The URL of a daemon that is started with these options."""
    daemon = node.start(*options)
    assert daemon.process.stderr is not None
    while line := daemon.process.stderr.readline():
        if found := re.search(r"listening on (\S+)", line):
            return found[1]
    raise AssertionError("it does not listen")
