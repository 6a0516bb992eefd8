# SPDX-License-Identifier: Apache-2.0
"""What a benchmark runs on: a daemon of its own with software devices, and programs with or without FlexNPU.

All of it ends with the benchmark, whatever ends the benchmark.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flexnpu import paths
from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.client import Client
from flexnpu.environment import for_tenant, merged
from flexnpu.errors import BackendError, DaemonError, FlexNpuError

GIB = 2**30
_START_WITHIN = 30.0
_ANSWER_WITHIN = 120.0
_FIRST = -19  # of nice
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


Command = Sequence[str | Path]


class BenchError(FlexNpuError):
    """A part of the benchmark did not start or has ended; the message has the end of its log."""

    code = "bench_failed"


def program(name: str) -> Path:
    """A program of native/bench. Raises BackendError where it was not built."""
    file = paths.library_dir() / "bench" / name
    if not file.exists():
        raise BackendError(
            f"the benchmark programs are not built: {file} does not exist",
            next_step="in a checkout of FlexNPU: make bench (needs libbenchmark-dev)",
        )
    return file


def null_environment() -> dict[str, str]:
    """What puts a program on the null device."""
    return {"LD_LIBRARY_PATH": str(program("null"))}


class Program:
    """A process that says JSON lines and may be told some."""

    def __init__(self, command: Command, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self.name = Path(command[0]).name
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [os.fspath(part) for part in command],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - no threads here
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, text: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its answer, or the lack of one, says why
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Its next line of JSON; what libraries print between is passed over."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return dict(json.loads(line))
        raise self._failure()

    def output(self) -> str:
        """All that it says until it ends by itself."""
        text, _ = self._process.communicate(timeout=_ANSWER_WITHIN)
        if self._process.returncode != 0:
            raise self._failure()
        return text

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def check(self) -> None:
        """Raises BenchError when it has ended."""
        if self._process.poll() is not None:
            raise self._failure()

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _failure(self) -> BenchError:
        status = self._process.wait(10)
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return BenchError(f"{self.name} has ended with status {status}: {lines[-1]}")


class Stand:
    """A daemon and programs. Use as a context manager. native: programs of native/bench are among them."""

    def __init__(self, devices: int = 1, *, governed: bool = True, clock: str = "paced", native: bool = True) -> None:
        if native:
            program("null")  # before anything is started
        self.options = SoftwareOptions(devices=devices, clock=clock, math="skip")
        self.root = paths.temporary_root("fx-bench-")
        self.governed = governed
        self._preload = paths.interposer() if governed else None
        self._programs: list[Program] = []
        self._daemon: Program | None = None
        self.client = Client(self.root / "run")

    def __enter__(self) -> Self:
        try:
            if self.governed:
                self._start_daemon()
            else:
                self.state_dir.mkdir(parents=True)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @property
    def state_dir(self) -> Path:
        return self.client.paths.softnpu

    def vnpu(self, name: str, **quota: Any) -> str:  # noqa: ANN401 - the fields of create_vnpu
        """A vNPU of all cores and a GiB, but for what is said otherwise."""
        fields = {"cores": self.cores, "memory_bytes": GIB, **quota}
        self.client.create_vnpu(name, **fields)
        return name

    @property
    def cores(self) -> int:
        """Of a device."""
        return self.client.devices()[0].cores

    def on_null_device(self, command: Command, vnpu: str | None = None) -> Program:
        """A program on the null device, on a vNPU or directly."""
        return self._run(command, null_environment(), vnpu)

    def on_software_npu(self, command: Command, vnpu: str | None = None) -> Program:
        """A program on the stand's software NPU, on a vNPU or directly."""
        return self._run(command, software_environment(self.options, self.state_dir), vnpu)

    def beside(self, command: Command) -> Program:
        """A program without a device, such as a controller."""
        return self._begin(command, os.environ)

    def stop_programs(self) -> None:
        for each in self._programs:
            each.stop()
        self._programs.clear()

    def _run(self, command: Command, device: Mapping[str, str], vnpu: str | None) -> Program:
        if vnpu is None:
            environment = merged(os.environ, device)
        else:
            assert self._preload is not None, "a vNPU has a daemon"
            environment = for_tenant(os.environ, device, self._preload, self.client.paths.attach_socket, vnpu)
        return self._begin(command, environment)

    def _begin(self, command: Command, environment: Mapping[str, str]) -> Program:
        started = Program(command, environment, self.root / f"program{len(self._programs)}.log")
        self._programs.append(started)
        return started

    def _start_daemon(self) -> None:
        given = self.options
        command = [sys.executable, "-m", "flexnpu.daemon.main", "--runtime-dir", str(self.client.paths.root)]
        command += ["--devices", str(given.devices), "--clock", given.clock, "--math", given.math]
        self._daemon = Program(command, os.environ, self.root / "flexnpud.log")
        end = time.monotonic() + _START_WITHIN
        while not self._answers():
            self._daemon.check()
            if time.monotonic() > end:
                raise BenchError(f"flexnpud did not answer within {_START_WITHIN:g} s")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return bool(self.client.version())
        except DaemonError:
            return False

    def _end(self) -> None:
        self.stop_programs()
        self.client.close()
        if self._daemon is not None:
            self._daemon.stop(signal.SIGTERM)
        shutil.rmtree(self.root, ignore_errors=True)


def die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _set_nice(level: int) -> None:
    """Of what is started from here, and of its session, by which Linux groups what competes for a processor."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, level)
        Path("/proc/self/autogroup").write_text(str(level))


@contextlib.contextmanager
def ahead_of_other_work() -> Any:  # noqa: ANN401 - a context manager
    """What is started inside goes before the host's other work where the system allows (root does): a tenant that waits
    for a processor says nothing about turns.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    _set_nice(_FIRST)
    try:
        yield
    finally:
        _set_nice(before)


@contextlib.contextmanager
def many_files() -> Any:  # noqa: ANN401 - a context manager
    """As many open files as the system allows, for a daemon with a thousand tenants: it inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
