# SPDX-License-Identifier: Apache-2.0
"""Processes that exist before their programs do: each waits at a gate, so that a vNPU can be made for its pid first.

They are forked from a process that has no threads yet. Each leads a process group, which is ended as a whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_GO = b"g"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Child:
    """stdout, stderr: to be read from. status: as waitpid has it, once it has ended."""

    name: str
    pid: int
    pidfd: int
    stdout: int
    stderr: int
    _gate: int = field(repr=False)
    status: int | None = None

    def go(self) -> None:
        """The process becomes the program."""
        with contextlib.suppress(BrokenPipeError):  # it has been killed
            os.write(self._gate, _GO)
        self.give_up()

    def give_up(self) -> None:
        """Who has not been let go ends without becoming the program."""
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def signal(self, number: int) -> None:
        """To all of its group; nothing where it has ended."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def reap(self) -> int:
        """The exit code, as a shell has it, of a process that has ended; the rest of its group is killed. Its number is
        nobody else's as long as it is not waited for, which makes that safe."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        _, self.status = os.waitpid(self.pid, 0)
        self.give_up()
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code


def adopt_orphans() -> None:
    """From now on, what our children leave behind becomes ours, not init's."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans() -> None:
    """Kills every child that there is, and the children that these leave, until there are none."""
    while found := _children(os.getpid()):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def fork(name: str, command: Sequence[str], program: str, environment: Mapping[str, str], folder: Path) -> Child:
    """A process that becomes the program in that folder when it is let go."""
    gate, opener = os.pipe()
    stdout, their_stdout = os.pipe()
    stderr, their_stderr = os.pipe()
    sys.stdout.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(parent, gate, (their_stdout, their_stderr), command, program, environment, folder)
    with contextlib.suppress(PermissionError, ProcessLookupError):  # the child does it too; whoever is first
        os.setpgid(pid, pid)
    for mine in (gate, their_stdout, their_stderr):
        os.close(mine)
    return Child(name, pid, os.pidfd_open(pid), stdout, stderr, opener)


def _become(  # noqa: PLR0913, PLR0917 - what a process is made of
    parent: int,
    gate: int,
    outputs: tuple[int, int],
    command: Sequence[str],
    program: str,
    environment: Mapping[str, str],
    folder: Path,
) -> NoReturn:
    """In the child; it never returns into what the parent was doing."""
    try:
        os.setpgid(0, 0)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        _close_all_but({0, 1, 2, gate, *outputs})  # the gates of the others, which would not shut
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if os.read(gate, 1) != _GO:
            os._exit(0)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in enumerate((null, *outputs)):
            os.dup2(source, target)
        os.chdir(folder)
        os.execve(program, [*command], dict(environment))
    except OSError as error:
        os.write(2, f"flexnpu: error: {program} cannot be executed in {folder} ({error.strerror})\n".encode())
    finally:
        os._exit(126)


def _close_all_but(kept: set[int]) -> None:
    for handle in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if handle not in kept:
            with contextlib.suppress(OSError):
                os.close(handle)


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                after_name = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if int(after_name[1]) == parent:
                    found.append(int(entry.name))
    return found
