# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu run: a program on a vNPU that lives as long as the program."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Annotated

import typer

from flexnpu import paths
from flexnpu.cli import options
from flexnpu.cli.environment import become, find_program
from flexnpu.cli.limits import devices, limits
from flexnpu.client import Client, Device
from flexnpu.environment import for_tenant
from flexnpu.errors import FlexNpuError, UnknownDevice
from flexnpu.units import parse_size


def run(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after --")],
    cores: Annotated[int, typer.Option(help="Guaranteed cores")],
    memory: Annotated[str, typer.Option(help="Memory limit, such as 8GiB")],
    device: options.Devices = "0",
    burst_cores: options.BurstCores = None,
    vector_cores: options.VectorCores = None,
    share: options.Share = None,
    fixed_share: options.FixedShare = None,
    priority: options.Priority = None,
    name: Annotated[str | None, typer.Option(help="Name of the vNPU  [default: the program's name and pid]")] = None,
    phase: Annotated[str | None, typer.Option(help="prefill or decode: what the program serves")] = None,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Start a program on a new vNPU. Its exit status and signals are the program's own."""
    memory_bytes = parse_size(memory)
    places = devices(device)
    more = limits(burst_cores, vector_cores, share, fixed_share, priority)
    program = find_program(command)
    name = name or _default_name(program)
    preload = paths.interposer()
    with Client(runtime_dir) as client:
        target = _devices(client, places)[0]
        if target.kind == "software":
            paths.softnpu_libraries()
        # This process becomes the program, so the vNPU ends with the program, however that ends.
        client.create_vnpu(
            name, device=places, cores=cores, memory_bytes=memory_bytes, phase=phase, owner_pid=os.getpid(), **more
        )
        try:
            socket = client.paths.attach_socket
            become(program, command, for_tenant(os.environ, target.environment, preload, socket, name))
        finally:
            with contextlib.suppress(FlexNpuError):
                client.delete_vnpu(name)


def _devices(client: Client, indexes: list[int]) -> list[Device]:
    there = {device.index: device for device in client.devices()}
    for index in indexes:
        if index not in there:
            known = ", ".join(map(str, there))
            raise UnknownDevice(f"device {index} does not exist (there are: {known})", next_step="see flexnpu ps")
    return [there[index] for index in indexes]


def _default_name(program: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", os.path.basename(program)).lstrip("._-")[:48]  # noqa: PTH119 - a command
    return f"{stem or 'program'}-{os.getpid()}"
