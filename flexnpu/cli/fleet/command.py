# SPDX-License-Identifier: Apache-2.0
"""flexnpu run --file: makes the vNPUs, all or none, then lets the programs go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from flexnpu import paths
from flexnpu.cli.devices import find_devices
from flexnpu.cli.environment import find_program
from flexnpu.cli.fleet.children import Child, adopt_orphans, end_orphans, fork
from flexnpu.cli.fleet.file import Fleet, Program, load
from flexnpu.cli.fleet.supervise import supervise
from flexnpu.client import Client, VNpu
from flexnpu.environment import for_tenant
from flexnpu.errors import FlexNpuError

_GONE_WITHIN_S = 2.0


def run_fleet(file: Path, connect: Callable[[], Client], *, as_json: bool) -> int:
    """The exit code. Raises flexnpu.errors before anything has started."""
    fleet = load(file)
    folder = file.absolute().parent
    preload = paths.interposer()
    with connect() as client:
        environments = {name: _environment(client, name, each, preload) for name, each in fleet.programs.items()}
        children: list[Child] = []
        adopt_orphans()
        try:
            for name, program in fleet.programs.items():
                children.append(_child(name, program, environments[name], folder))
            made = _make(client, fleet, children)
            code = asyncio.run(supervise(fleet, children, connect, as_json=as_json))
            _until_gone(client, made)
            return code
        finally:
            for child in children:
                child.give_up()
            end_orphans()


def _environment(client: Client, name: str, program: Program, preload: Path) -> dict[str, str]:
    device, *_ = find_devices(client, program.device)
    if device.kind == "software":
        paths.softnpu_libraries()
    base = {**os.environ, **program.environment}
    return for_tenant(base, device.environment, preload, client.paths.attach_socket, name)


def _child(name: str, program: Program, environment: Mapping[str, str], folder: Path) -> Child:
    place = folder / program.working_dir
    found = find_program(program.command, path=environment.get("PATH"), folder=place)
    return fork(name, program.command, found, environment, place)


def _make(client: Client, fleet: Fleet, children: list[Child]) -> list[VNpu]:
    """Each vNPU ends with the process that waits for it."""
    made: list[VNpu] = []
    try:
        for child in children:
            program = fleet.programs[child.name]
            vnpu = client.create_vnpu(
                child.name,
                device=program.device,
                cores=program.cores,
                memory_bytes=program.memory,
                phase=program.phase,
                owner_pid=child.pid,
                burst_cores=program.burst_cores,
                vector_cores=program.vector_cores,
                share_percent=program.share,
                fixed_share=program.fixed_share,
                priority=program.priority,
            )
            made.append(vnpu)
    except BaseException:
        for vnpu in made:
            with contextlib.suppress(FlexNpuError):
                client.delete_vnpu(vnpu.name)
        raise
    return made


def _until_gone(client: Client, made: list[VNpu]) -> None:
    """The daemon sees the ends of processes by itself; whoever starts the file again wants its names."""
    ids = {vnpu.id for vnpu in made}
    end = time.monotonic() + _GONE_WITHIN_S
    with contextlib.suppress(FlexNpuError):
        while time.monotonic() < end and any(vnpu.id in ids for vnpu in client.vnpus()):
            time.sleep(0.01)
