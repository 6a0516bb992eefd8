# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu run: a program on a vNPU that lives as long as the program, or several of a file."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from flexnpu import paths
from flexnpu.cli import options
from flexnpu.cli.devices import find_devices
from flexnpu.cli.environment import become, find_program
from flexnpu.cli.limits import devices, limits
from flexnpu.client import Client
from flexnpu.environment import for_tenant
from flexnpu.errors import FlexNpuError, InvalidValue
from flexnpu.units import parse_size

_WITH_FILE = {"file", "as_json", "runtime_dir"}


def run(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(help="The program and its arguments, after --")] = None,
    cores: Annotated[int | None, typer.Option(help="Guaranteed cores")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory limit, such as 8GiB")] = None,
    device: options.Devices = "0",
    burst_cores: options.BurstCores = None,
    vector_cores: options.VectorCores = None,
    share: options.Share = None,
    fixed_share: options.FixedShare = None,
    priority: options.Priority = None,
    name: Annotated[str | None, typer.Option(help="Name of the vNPU  [default: the program's name and pid]")] = None,
    phase: Annotated[str | None, typer.Option(help="prefill or decode: what the program serves")] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Several programs, each on a vNPU of its own")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --file: print JSON lines")] = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Start a program on a new vNPU; its exit status and signals are the program's own. Or those of a file."""
    if file is not None:
        _check_alone(context)
        from flexnpu.cli.fleet.command import run_fleet  # noqa: PLC0415 - only needed here

        raise typer.Exit(run_fleet(file, lambda: Client(runtime_dir), as_json=as_json))
    if as_json:
        raise InvalidValue("--json is for --file", next_step="leave it out: the output is the program's own")
    for option, value in (("--cores", cores), ("--memory", memory)):
        if value is None:
            raise InvalidValue(f"{option} is missing", next_step="give it, or --file; see flexnpu run --help")
    program = find_program(command or ())
    memory_bytes = parse_size(memory or "")
    places = devices(device)
    more = limits(burst_cores, vector_cores, share, fixed_share, priority)
    name = name or _default_name(program)
    preload = paths.interposer()
    with Client(runtime_dir) as client:
        target = find_devices(client, places)[0]
        if target.kind == "software":
            paths.softnpu_libraries()
        # This process becomes the program, so the vNPU ends with the program, however that ends.
        client.create_vnpu(
            name, device=places, cores=cores or 0, memory_bytes=memory_bytes, phase=phase, owner_pid=os.getpid(), **more
        )
        try:
            socket = client.paths.attach_socket
            become(program, command or (), for_tenant(os.environ, target.environment, preload, socket, name))
        finally:
            with contextlib.suppress(FlexNpuError):
                client.delete_vnpu(name)


def _check_alone(context: typer.Context) -> None:
    """The file says what the other options would."""
    for parameter in context.params:
        source = context.get_parameter_source(parameter)
        if parameter not in _WITH_FILE and source is not None and source.name == "COMMANDLINE":
            what = "a command" if parameter == "command" else f"--{parameter.replace('_', '-')}"
            raise InvalidValue(f"{what} beside --file", next_step="write it into the file")


def _default_name(program: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", os.path.basename(program)).lstrip("._-")[:48]  # noqa: PTH119 - a command
    return f"{stem or 'program'}-{os.getpid()}"
