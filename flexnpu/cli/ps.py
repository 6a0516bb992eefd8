# SPDX-License-Identifier: Apache-2.0
"""flexnpu ps and flexnpu version: what there is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from flexnpu import __version__, _native
from flexnpu.api.models import API_VERSION
from flexnpu.cli import options
from flexnpu.client import Client, Device, Tenant, VNpu
from flexnpu.errors import NoDaemon
from flexnpu.units import format_size


def ps(as_json: options.Json = False, runtime_dir: options.RuntimeDir = None) -> None:
    """List devices, vNPUs and tenants."""
    with Client(runtime_dir) as client:
        devices, vnpus, tenants = client.devices(), client.vnpus(), client.tenants()
    if as_json:
        listing: dict[str, Sequence[BaseModel]] = {"devices": devices, "vnpus": vnpus, "tenants": tenants}
        typer.echo(json.dumps({key: [item.model_dump() for item in items] for key, items in listing.items()}, indent=2))
    else:
        _show(devices, vnpus, tenants)


def version(as_json: options.Json = False, runtime_dir: options.RuntimeDir = None) -> None:
    """Versions of this package and of the running daemon."""
    own = {"version": __version__, "page_version": _native.PAGE_VERSION, "api_version": API_VERSION}
    versions = {"flexnpu": own}
    try:
        with Client(runtime_dir) as client:
            versions["flexnpud"] = client.version().model_dump()
    except NoDaemon:
        pass
    if as_json:
        typer.echo(json.dumps(versions, indent=2))
        return
    for program, numbers in versions.items():
        typer.echo(f"{program} {numbers['version']} (page {numbers['page_version']}, API {numbers['api_version']})")


def _show(devices: list[Device], vnpus: list[VNpu], tenants: list[Tenant]) -> None:
    # In a pipe there is no width to fit into, and a folded table is none.
    console = Console(width=None if sys.stdout.isatty() else 250)
    head: tuple[str, ...] = ("device", "soc", "kind", "cores", "free", "memory", "free", "clock")
    console.print(_table("devices", head, [_device_row(device) for device in devices]))
    head = ("name", "device", "cores", "lent", "vector", "share", "priority", "time", "memory", "used", "peak")
    console.print(
        _table("vNPUs", (*head, "phase", "revision", "state", "tenants"), [_vnpu_row(vnpu) for vnpu in vnpus])
    )
    head = ("pid", "vNPU", "applied", "memory", "denied", "operators", "waited", "step", "state")
    console.print(_table("tenants", head, [_tenant_row(tenant) for tenant in tenants]))
    graphs = [(tenant.pid, tenant.vnpu, graph) for tenant in tenants for graph in tenant.graphs]
    if graphs:
        head = ("pid", "vNPU", "device", "captured at cores", "vector", "replays")
        rows = [(pid, vnpu, g.device, g.cores, g.vector_cores, g.replays) for pid, vnpu, g in graphs]
        console.print(_table("graphs", head, rows))


def _device_row(device: Device) -> tuple[object, ...]:
    memory = format_size(device.memory_bytes), format_size(device.memory_free)
    return device.index, device.soc, device.kind, device.cores, device.cores_free, *memory, _clock(device)


def _vnpu_row(vnpu: VNpu) -> tuple[object, ...]:
    burst = vnpu.burst_cores or vnpu.cores
    return (
        vnpu.name,
        ",".join(map(str, vnpu.devices)),
        f"{vnpu.cores} to {burst}" if burst > vnpu.cores else vnpu.cores,
        vnpu.lent_cores or "-",
        vnpu.vector_cores or "-",
        _share(vnpu),
        vnpu.priority,
        f"{sum(use.used_s for use in vnpu.use):.4g} s",
        format_size(vnpu.memory_bytes),
        format_size(max((use.memory_used for use in vnpu.use), default=0)),
        format_size(max((use.memory_peak for use in vnpu.use), default=0)),
        vnpu.phase or "-",
        vnpu.revision,
        _state(vnpu),
        vnpu.tenants,
    )


def _tenant_row(tenant: Tenant) -> tuple[object, ...]:
    return (
        tenant.pid,
        tenant.vnpu,
        f"revision {tenant.applied_revision}" if tenant.applied else f"not yet ({tenant.applied_revision})",
        format_size(tenant.memory_used),
        tenant.memory_denied,
        tenant.launched,
        f"{tenant.waited_s:.4g} s",
        _step(tenant),
        "attached" if tenant.present else "away",
    )


def _share(vnpu: VNpu) -> str:
    if vnpu.share_percent is None:
        return "-"
    moved = vnpu.effective_share_percent not in (None, vnpu.share_percent)
    now = f", now {vnpu.effective_share_percent:g}%" if moved else ""
    return f"{vnpu.share_percent:g}%{' fixed' if vnpu.fixed_share else ''}{now}"


def _step(tenant: Tenant) -> str:
    step = tenant.iteration
    if step is None:
        return "-"
    return f"{step.phase} {step.new_tokens} tokens of {step.requests}, context up to {step.context_most}"


def _table(title: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> Table:
    table = Table(title=f"{title}: none" if not rows else title, title_justify="left", show_header=bool(rows), box=None)
    for column in columns:
        table.add_column(column, no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*map(str, row))
    return table


def _clock(device: Device) -> str:
    if device.clock is None:
        return "-"
    return f"{device.clock}, math {device.math}, scale {device.scale:g}"


def _state(vnpu: VNpu) -> str:
    if vnpu.applied:
        return "applied"
    if vnpu.granted_revision < vnpu.revision:
        return f"waits for cores (has {vnpu.granted_cores})"
    return "waits for its tenants"
