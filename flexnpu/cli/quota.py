# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu set, create, delete: vNPUs and their quotas."""

from __future__ import annotations

from typing import Annotated

import typer

from flexnpu.cli import options
from flexnpu.cli.limits import devices, limits
from flexnpu.cli.output import print_json
from flexnpu.client import Client
from flexnpu.errors import InvalidValue, NotApplied
from flexnpu.units import format_size, parse_duration, parse_size


def set_quota(
    name: options.Name,
    cores: Annotated[int | None, typer.Option(help="Guaranteed cores from now on")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory limit from now on, such as 8GiB")] = None,
    burst_cores: options.BurstCores = None,
    vector_cores: options.VectorCores = None,
    share: options.Share = None,
    fixed_share: options.FixedShare = None,
    priority: options.Priority = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Change the quota of a vNPU while its tenants run, and wait until it is applied."""
    more = limits(burst_cores, vector_cores, share, fixed_share, priority)
    if cores is None and memory is None and not more:
        raise InvalidValue(f"nothing to set on {name}", next_step="give --cores, --memory, --share or another limit")
    within = parse_duration(timeout)
    memory_bytes = None if memory is None else parse_size(memory)
    with Client(runtime_dir) as client:
        state = client.set_quota(name, cores=cores, memory_bytes=memory_bytes, wait=within, **more)
        obstacle = "" if state.applied else _obstacle(client, name)
    if as_json:
        print_json(state)
    if not state.applied:
        raise NotApplied(
            f"revision {state.desired_revision} on {name} is accepted but was not applied within {timeout}",
            next_step=obstacle,
        )
    if not as_json:
        typer.echo(
            f"applied revision {state.desired_revision} on {name} after {(state.applied_after_s or 0) * 1e3:.1f} ms"
        )


def _obstacle(client: Client, name: str) -> str:
    """What the change waits for, as far as the daemon can tell."""
    vnpu = client.vnpu(name)
    if vnpu.granted_revision < vnpu.revision:
        return f"other vNPUs still hold the cores (it has {vnpu.granted_cores}); see flexnpu ps"
    behind = [each for each in client.tenants(name) if not each.applied]
    away = [str(tenant.pid) for tenant in behind if not tenant.present]
    if away:
        return f"pid {', '.join(away)} has not come back since the daemon was restarted; restart that program"
    pids = ", ".join(str(tenant.pid) for tenant in behind)
    return f"pid {pids} is busy with older work; it takes effect after that"


def create(
    name: options.Name,
    cores: Annotated[int, typer.Option(help="Guaranteed cores")],
    memory: Annotated[str, typer.Option(help="Memory limit, such as 8GiB")],
    device: options.Devices = "0",
    burst_cores: options.BurstCores = None,
    vector_cores: options.VectorCores = None,
    share: options.Share = None,
    fixed_share: options.FixedShare = None,
    priority: options.Priority = None,
    phase: Annotated[str | None, typer.Option(help="prefill or decode: what will be served on it")] = None,
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Make a vNPU that stays until it is deleted."""
    memory_bytes = parse_size(memory)
    places = devices(device)
    more = limits(burst_cores, vector_cores, share, fixed_share, priority)
    with Client(runtime_dir) as client:
        vnpu = client.create_vnpu(name, device=places, cores=cores, memory_bytes=memory_bytes, phase=phase, **more)
    if as_json:
        print_json(vnpu)
    else:
        where = ", ".join(map(str, vnpu.devices))
        typer.echo(f"created {name}: {vnpu.cores} cores, {format_size(vnpu.memory_bytes)} on device {where}")


def delete(
    name: options.Name,
    force: Annotated[bool, typer.Option("--force", help="Kill its live tenants")] = False,
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Delete a vNPU."""
    with Client(runtime_dir) as client:
        client.delete_vnpu(name, force=force)
    if as_json:
        print_json({"deleted": name})
    else:
        typer.echo(f"deleted {name}")
