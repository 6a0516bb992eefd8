# SPDX-License-Identifier: Apache-2.0
"""Devices, vNPUs, tenants, graphs and controllers as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from flexnpu.cli.output import table
from flexnpu.client import Controller, Device, Tenant, VNpu
from flexnpu.units import format_size


def devices(found: Sequence[Device]) -> Table:
    head: tuple[str, ...] = ("device", "soc", "kind", "cores", "free", "memory", "free", "clock")
    rows = [_device(each) for each in found]
    if any(each.trouble for each in found):
        head, rows = (*head, "trouble"), [(*row, each.trouble or "-") for row, each in zip(rows, found, strict=True)]
    return table("devices", head, rows)


def vnpus(found: Sequence[VNpu]) -> Table:
    head = ("name", "device", "cores", "lent", "vector", "share", "priority", "time", "memory", "used", "peak")
    return table("vNPUs", (*head, "phase", "revision", "state", "tenants"), [_vnpu(each) for each in found])


def tenants(found: Sequence[Tenant]) -> Table:
    head = ("pid", "vNPU", "applied", "memory", "denied", "operators", "waited", "step", "state")
    return table("tenants", head, [_tenant(each) for each in found])


def graphs(found: Sequence[Tenant]) -> Table:
    rows = [
        (tenant.pid, tenant.vnpu, graph.device, graph.cores, graph.vector_cores, graph.replays)
        for tenant in found
        for graph in tenant.graphs
    ]
    return table("graphs", ("pid", "vNPU", "device", "captured at cores", "vector", "replays"), rows)


def controllers(found: Sequence[Controller]) -> Table:
    head = ("name", "mode", "moves cores", "devices", "services", "decisions", "state")
    return table("controllers", head, [_controller(each) for each in found])


def cores(vnpu: VNpu) -> str:
    burst = vnpu.burst_cores or vnpu.cores
    return f"{vnpu.cores} to {burst}" if burst > vnpu.cores else str(vnpu.cores)


def share(vnpu: VNpu) -> str:
    if vnpu.share_percent is None:
        return "-"
    moved = vnpu.effective_share_percent not in (None, vnpu.share_percent)
    now = f", now {vnpu.effective_share_percent:g}%" if moved else ""
    return f"{vnpu.share_percent:g}%{' fixed' if vnpu.fixed_share else ''}{now}"


def state(vnpu: VNpu) -> str:
    if vnpu.applied:
        return "applied"
    if vnpu.granted_revision < vnpu.revision:
        return f"waits for cores (has {vnpu.granted_cores})"
    return "waits for its tenants"


def clock(device: Device) -> str:
    if device.clock is None:
        return "-"
    return f"{device.clock}, math {device.math}, scale {device.scale:g}"


def _device(device: Device) -> tuple[object, ...]:
    memory = format_size(device.memory_bytes), format_size(device.memory_free)
    return device.index, device.soc, device.kind, device.cores, device.cores_free, *memory, clock(device)


def _vnpu(vnpu: VNpu) -> tuple[object, ...]:
    return (
        vnpu.name,
        ",".join(map(str, vnpu.devices)),
        cores(vnpu),
        vnpu.lent_cores or "-",
        vnpu.vector_cores or "-",
        share(vnpu),
        vnpu.priority,
        f"{sum(use.used_s for use in vnpu.use):.4g} s",
        format_size(vnpu.memory_bytes),
        format_size(max((use.memory_used for use in vnpu.use), default=0)),
        format_size(max((use.memory_peak for use in vnpu.use), default=0)),
        vnpu.phase or "-",
        vnpu.revision,
        state(vnpu),
        vnpu.tenants,
    )


def _tenant(tenant: Tenant) -> tuple[object, ...]:
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


def _step(tenant: Tenant) -> str:
    step = tenant.iteration
    if step is None:
        return "-"
    return f"{step.phase} {step.new_tokens} tokens of {step.requests}, context up to {step.context_most}"


def _controller(controller: Controller) -> tuple[object, ...]:
    return (
        controller.name,
        controller.mode,
        "yes" if controller.moves else "no, it observes",
        ",".join(map(str, controller.devices)),
        ", ".join(service.name for service in controller.services),
        controller.decisions,
        "alive" if controller.live else "gone",
    )
