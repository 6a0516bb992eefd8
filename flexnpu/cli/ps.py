# SPDX-License-Identifier: Apache-2.0
"""flexnpu ps and flexnpu version: what there is."""

from __future__ import annotations

import json
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
    console = Console()
    console.print(
        _table(
            "devices",
            ("device", "soc", "kind", "cores", "free", "memory", "free", "clock"),
            [
                (
                    d.index,
                    d.soc,
                    d.kind,
                    d.cores,
                    d.cores_free,
                    format_size(d.memory_bytes),
                    format_size(d.memory_free),
                    _clock(d),
                )
                for d in devices
            ],
        )
    )
    console.print(
        _table(
            "vNPUs",
            ("name", "device", "cores", "memory", "phase", "revision", "state", "tenants"),
            [
                (
                    v.name,
                    v.device,
                    v.cores,
                    format_size(v.memory_bytes),
                    v.phase or "-",
                    v.revision,
                    _state(v),
                    v.tenants,
                )
                for v in vnpus
            ],
        )
    )
    console.print(
        _table(
            "tenants",
            ("pid", "vNPU", "applied", "memory", "peak", "denied", "operators", "state"),
            [
                (
                    t.pid,
                    t.vnpu,
                    t.applied_revision,
                    format_size(t.memory_used),
                    format_size(t.memory_peak),
                    t.memory_denied,
                    t.launched,
                    "attached" if t.present else "away",
                )
                for t in tenants
            ],
        )
    )


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> Table:
    table = Table(title=f"{title}: none" if not rows else title, title_justify="left", show_header=bool(rows), box=None)
    for column in columns:
        table.add_column(column)
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
