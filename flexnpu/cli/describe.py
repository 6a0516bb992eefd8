# SPDX-License-Identifier: Apache-2.0
"""flexnpu describe: everything that is known of one vNPU, or of one device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from flexnpu.cli import options, tables
from flexnpu.cli.names import complete_vnpu
from flexnpu.cli.output import facts, print_json, show, table
from flexnpu.client import Client, Device, Tenant, VNpu
from flexnpu.errors import InvalidValue, UnknownDevice
from flexnpu.units import format_size

_MODELLED = "modelled: times and cores are those of a software NPU"


def describe(
    name: Annotated[str | None, typer.Argument(help="Name of a vNPU", autocompletion=complete_vnpu)] = None,
    device: Annotated[int | None, typer.Option(help="Index of a device, in place of a vNPU")] = None,
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Show all of one vNPU, or of one device and who holds it."""
    if (name is None) == (device is None):
        raise InvalidValue("describe needs a vNPU or --device, one of them", next_step="see flexnpu ps")
    with Client(runtime_dir) as client:
        devices = client.devices()
        if name is not None:
            vnpu, quota, tenants = client.vnpu(name), client.quota(name), client.tenants(name)
            if as_json:
                print_json({"vnpu": vnpu, "quota": quota, "tenants": tenants})
            else:
                show(*_vnpu(vnpu, tenants, devices))
            return
        found = next((each for each in devices if each.index == device), None)
        vnpus = client.vnpus()
    if found is None:
        raise UnknownDevice.among(device, [each.index for each in devices])
    held = [each for each in vnpus if found.index in each.devices]
    if as_json:
        print_json({"device": found, "vnpus": held})
    else:
        show(*_device(found, held))


def _vnpu(vnpu: VNpu, tenants: list[Tenant], devices: list[Device]) -> Iterator[Table]:
    modelled = any(each.kind == "software" for each in devices if each.index in vnpu.devices)
    rows: list[tuple[str, object]] = [
        ("id", vnpu.id),
        ("devices", ", ".join(map(str, vnpu.devices))),
        ("cores", f"{tables.cores(vnpu)} guaranteed; granted {vnpu.granted_cores}, of these {vnpu.lent_cores} lent"),
        ("vector cores", vnpu.vector_cores or "in proportion"),
        ("share of time", tables.share(vnpu) if vnpu.share_percent else "all of it, on its own cores"),
        ("priority", vnpu.priority),
        ("memory", f"{format_size(vnpu.memory_bytes)} on each device"),
        ("phase", vnpu.phase or "not declared"),
        ("revision", f"{vnpu.revision} ({tables.state(vnpu)}; in force everywhere: {vnpu.applied_revision})"),
        ("labels", " ".join(f"{name}={value}" for name, value in vnpu.labels.items()) or "none"),
        ("ends", "when it is deleted" if vnpu.owner_pid is None else f"with process {vnpu.owner_pid}"),
    ]
    if modelled:
        rows.append(("device time", _MODELLED))
    yield facts(f"vNPU {vnpu.name}", rows)
    yield table("use", ("device", "granted", "lent", "held now", "time", "turns", "memory", "peak"), _use(vnpu))
    yield tables.tenants(tenants)
    if any(tenant.launches for tenant in tenants):
        kinds = [kind for kind in tenants[0].launches if any(tenant.launches[kind] for tenant in tenants)]
        yield table("launches", ("pid", *kinds), [(t.pid, *(t.launches[kind] for kind in kinds)) for t in tenants])
    if any(tenant.graphs for tenant in tenants):
        yield tables.graphs(tenants)


def _use(vnpu: VNpu) -> list[tuple[object, ...]]:
    return [
        (
            use.device,
            use.granted_cores,
            use.lent_cores,
            use.held_cores,
            f"{use.used_s:.4g} s",
            use.turns,
            format_size(use.memory_used),
            format_size(use.memory_peak),
        )
        for use in vnpu.use
    ]


def _device(device: Device, held: list[VNpu]) -> Iterator[Table]:
    used = "unknown" if device.memory_used is None else format_size(device.memory_used)
    rows: list[tuple[str, object]] = [
        ("soc", f"{device.soc} ({device.kind})"),
        ("uuid", device.uuid or "unknown"),
        ("NUMA node", "unknown" if device.numa_node is None else device.numa_node),
        ("trouble", device.trouble or "none"),
        ("cores", f"{device.cores}, of these {device.cores_free} free"),
        ("memory", f"{format_size(device.memory_bytes)}: {format_size(device.memory_free)} free, {used} in use"),
        ("clock", tables.clock(device)),
    ]
    if device.kind == "software":
        rows.append(("device time", _MODELLED))
    rows += [(f"sets {name}", value) for name, value in sorted(device.environment.items())]
    yield facts(f"device {device.index}", rows)
    yield tables.vnpus(held)
