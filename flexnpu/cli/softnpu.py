# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu softnpu run: a program on the software NPU directly, without daemon and vNPU."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from flexnpu import paths
from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.cli.environment import become, find_program
from flexnpu.environment import merged

_DEFAULTS = SoftwareOptions()
STATE_PREFIX = "flexnpu-softnpu-"  # of the directories that the devices' states lie in, in the temporary directory


def run(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after --")],
    soc: Annotated[str, typer.Option(help="The SoC to be")] = _DEFAULTS.soc,
    devices: Annotated[int, typer.Option(help="Number of devices, 1 to 16")] = _DEFAULTS.devices,
    clock: Annotated[str, typer.Option(help="free, or paced: operators take the time of the SoC")] = _DEFAULTS.clock,
    math: Annotated[str, typer.Option(help="exact, or skip: results are undefined")] = _DEFAULTS.math,
    scale: Annotated[float, typer.Option(help="Wall seconds per device second")] = _DEFAULTS.scale,
) -> None:
    """Start a program on a software NPU of its own; processes that it starts share the devices with it."""
    options = SoftwareOptions(soc, devices, clock, math, scale)
    program = find_program(command)
    paths.softnpu_libraries()
    state = Path(tempfile.mkdtemp(prefix=STATE_PREFIX))
    try:
        _remove_at_end(state)
        become(program, command, merged(os.environ, software_environment(options, state)))
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _remove_at_end(state: Path) -> None:
    """Leave a process behind that removes the directory when this process (the program, by then) is dead.

    It is nobody's child, so that a program that waits for all of its own does not wait for it.
    """
    pidfd = os.pidfd_open(os.getpid())
    first = os.fork()
    if first == 0:
        os.setsid()
        if os.fork() == 0:
            _sweep(pidfd, state)
        os._exit(0)
    os.waitpid(first, 0)
    os.close(pidfd)


def _sweep(pidfd: int, state: Path) -> None:
    # No open file of the program may live on here: a pipe's reader would wait for us.
    with contextlib.suppress(OSError):
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if descriptor not in (0, 1, 2, pidfd):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        select.select([pidfd], [], [])
    shutil.rmtree(state, ignore_errors=True)
    os._exit(0)
