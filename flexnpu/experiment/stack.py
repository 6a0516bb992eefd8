# SPDX-License-Identifier: Apache-2.0
"""What an experiment runs on: a daemon with a paced software device, and two engines on vNPUs of their own.

All of it ends with the experiment, whatever ends that.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import flexnpu
from flexnpu import paths
from flexnpu.client import Client
from flexnpu.errors import BackendError, FlexNpuError

EXAMPLE = Path(flexnpu.__file__).parents[1] / "examples" / "pd_serving"
MODEL = EXAMPLE / "qwen2.5-7b.json"
SOC = "Ascend910B2"
ROLES = ("prefill", "decode")
MEMORY = {"prefill": "22GiB", "decode": "30GiB"}
# Of the engines, said on their command lines; simulated.py has the same from here.
MAX_LEN = TOKEN_BUDGET = 8192
MAX_BATCH = 64
RUN_AHEAD = 2  # layers of a prompt
BLOCK = 128  # tokens of a cache's block
CACHE_BLOCKS = {"prefill": 700, "decode": 1700}
_START_WITHIN = 120.0  # wall seconds: importing torch twice on two cores
_END_WITHIN = 15.0
_PLACE_WITHIN = 10.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class StackError(FlexNpuError):
    """A part of the stack did not start or has ended; the message has the end of its log."""

    code = "stack_failed"


class Quota(NamedTuple):
    """What a vNPU may have: cores of its own, or, with a share, all of them for that part of the time, before those of
    a lower priority."""

    cores: int
    share_percent: float | None = None
    priority: int = 0

    def options(self) -> list[str]:
        """As `flexnpu run` takes it."""
        share = [] if self.share_percent is None else ["--share", f"{self.share_percent:g}%"]
        priority = ["--priority", str(self.priority)] if self.priority else []
        return ["--cores", str(self.cores), *share, *priority]


Quotas = Mapping[str, Quota]  # by role


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Stack:
    """The running parts. Use as a context manager.

    quotas: what the vNPUs begin with. decode_batch: how many requests decode at once, at most.
    """

    def __init__(self, quotas: Quotas, decode_batch: int = MAX_BATCH) -> None:
        if not (EXAMPLE / "engine.py").is_file():
            raise BackendError(f"{EXAMPLE} is not there", next_step="run it from a checkout of FlexNPU")
        self.root = paths.temporary_root("flexnpu-experiment-")
        self.runtime_dir = self.root / "run"
        self.ports = {role: _free_port() for role in ROLES}
        self._parts: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.client = Client(self.runtime_dir)
        self._quotas = quotas
        self._batch = {"prefill": MAX_BATCH, "decode": decode_batch}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @property
    def state_file(self) -> Path:
        """The software device's state (flexnpu.softnpu)."""
        return self.runtime_dir / "softnpu" / "device0"

    def url(self, role: str) -> str:
        return f"http://127.0.0.1:{self.ports[role]}"

    def split(self) -> tuple[float, float]:
        """Cores of prefill and decode; of who takes turns, the part of all its cores that it has the time of."""
        cores = {}
        for vnpu in self.client.vnpus():
            share = vnpu.effective_share_percent or vnpu.share_percent
            cores[vnpu.name] = vnpu.cores if share is None else vnpu.cores * share / 100
        return cores["prefill"], cores["decode"]

    def place(self, quotas: Quotas) -> None:
        """Gives both vNPUs these quotas and waits until they are applied. Raises FlexNpuError where they are not."""
        now = {vnpu.name: vnpu.cores for vnpu in self.client.vnpus()}
        # First who loses cores, then who takes turns, then who wins cores: all of it fits the device at any time.
        for role, quota in quotas.items():
            self.client.set_quota(role, cores=min(quota.cores, now[role]), wait=_PLACE_WITHIN)
        for role, quota in quotas.items():
            share, priority = quota.share_percent, quota.priority
            self.client.set_quota(role, share_percent=share, priority=priority, wait=_PLACE_WITHIN)
        for role, quota in quotas.items():
            self.client.set_quota(role, cores=quota.cores, wait=_PLACE_WITHIN)

    def start_controller(self, decisions: Path, mode: str, ttft: float, itl: float) -> subprocess.Popen[bytes]:
        """`flexnpu controller` in that mode; targets in seconds of device time."""
        roles = [f"--{role}={role}={self.url(role)}" for role in ROLES]
        targets = ["--ttft", f"{ttft * 1e3:g}ms", "--itl", f"{itl * 1e3:g}ms"]
        command = ["controller", *roles, "--model", str(MODEL), "--mode", mode, *targets]
        return self._flexnpu("controller", *command, "--decisions", str(decisions), "--quiet")

    def stop(self, part: subprocess.Popen[bytes]) -> None:
        part.terminate()
        try:
            part.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            part.kill()
            part.wait()
        self._parts = [each for each in self._parts if each[1] is not part]

    def check(self) -> None:
        """Raises StackError when a part has ended by itself."""
        for name, part in self._parts:
            if part.poll() is not None:
                raise StackError(f"{name} has ended with status {part.returncode}: {self._last_line(name)}")

    def _start(self) -> None:
        options = ["--soc", SOC, "--clock", "paced", "--math", "skip", "--runtime-dir", str(self.runtime_dir)]
        self._run("flexnpud", [sys.executable, "-m", "flexnpu.daemon.main", *options])
        self.wait("flexnpud", lambda: bool(self.client.version()))
        link = self.root / "link.sock"
        for role in ("decode", "prefill"):
            engine = [sys.executable, str(EXAMPLE / "engine.py"), "--role", role, "--model", str(MODEL)]
            engine += ["--port", str(self.ports[role]), "--link", str(link), "--max-batch", str(self._batch[role])]
            engine += ["--max-len", str(MAX_LEN), "--token-budget", str(TOKEN_BUDGET)]
            engine += ["--cache-blocks", str(CACHE_BLOCKS[role]), "--run-ahead", str(RUN_AHEAD)]
            vnpu = ["--name", role, "--phase", role, "--memory", MEMORY[role], *self._quotas[role].options()]
            self._flexnpu(role, "run", *vnpu, "--", *engine)
        for role in ROLES:
            self.wait(role, lambda port=self.ports[role]: _healthy(port))  # type: ignore[misc] # bound per turn

    def _flexnpu(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return self._run(name, [sys.executable, "-m", "flexnpu.cli.main", *arguments])

    def _run(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "FLEXNPU_RUNTIME_DIR": str(self.runtime_dir), "OMP_NUM_THREADS": "1"}
        with self._log(name).open("ab") as log, _interrupts_wait():
            part = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, in a process that has no lock of Python's
            )
            self._parts.append((name, part))
        return part

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + _START_WITHIN
        while not _answers(ready):
            self.check()
            if time.monotonic() > end:
                raise StackError(f"{name} does not answer after {_START_WITHIN:g} s: {self._last_line(name)}")
            time.sleep(0.1)

    def _end(self) -> None:
        self.client.close()
        # Engines before the daemon, so that it sees them go; prefill first, which cannot do without decode.
        for _, part in reversed(self._parts):
            self.stop(part)
        shutil.rmtree(self.root, ignore_errors=True)

    def _log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    def _last_line(self, name: str) -> str:
        try:
            lines = self._log(name).read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "its log is empty"


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """What interrupts meanwhile does so at the end: Python drops an exception that is raised in one of fork's hooks."""
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _answers(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except (OSError, http.client.HTTPException, FlexNpuError):
        return False


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
