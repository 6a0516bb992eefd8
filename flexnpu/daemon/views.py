# SPDX-License-Identifier: Apache-2.0
"""What the daemon shows of its devices, vNPUs and tenants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from flexnpu import _native
from flexnpu.backend import Device, live_state, trouble
from flexnpu.daemon.counts import LAUNCH_KINDS, MEMORY_DENIAL, STEP_PHASES, WAIT_BOUNDS_S
from flexnpu.daemon.host import PHASES, Resident, Tenant, applied_revision
from flexnpu.tenancy import (
    Buckets,
    DeviceCounts,
    DeviceView,
    GraphView,
    IterationView,
    StepView,
    TenantView,
    Usage,
    UseView,
    VNpu,
    VNpuCounts,
    VNpuView,
)


def device(device: Device, registered: Iterable[VNpu]) -> DeviceView:
    """registered: the vNPUs on it."""
    usage = Usage.of(registered)
    live = live_state(device)
    return DeviceView(
        index=device.index,
        soc=device.soc,
        kind=device.kind,
        cores=device.cores,
        memory_bytes=device.memory_bytes,
        cores_free=device.cores - usage.cores,
        memory_free=device.memory_bytes - usage.memory_bytes,
        memory_used=live.memory_used,
        clock=device.clock,
        math=device.math,
        scale=live.scale,
        environment=device.environment,
        uuid=device.uuid,
        numa_node=device.numa_node,
        trouble=trouble(device),
    )


def vnpu(resident: Resident) -> VNpuView:
    registered, quota, states = resident.registered, resident.registered.quota, resident.states()
    return VNpuView(
        id=registered.id,
        name=registered.name,
        device=registered.devices[0],
        devices=list(registered.devices),
        cores=quota.cores,
        burst_cores=quota.most_cores,
        vector_cores=quota.vector_cores,
        memory_bytes=quota.memory_bytes,
        share_percent=quota.share_percent,
        effective_share_percent=_effective_share_percent(states),
        fixed_share=quota.fixed_share,
        priority=quota.priority,
        revision=quota.revision,
        phase=registered.phase,
        owner_pid=registered.owner.pid if registered.owner else None,
        granted_cores=min(state.granted_cores for state in states),
        granted_revision=min(state.granted_revision for state in states),
        applied_revision=min(state.applied_revision for state in states),
        applied=all(state.applied_revision >= quota.revision for state in states),
        lent_cores=max(state.lent_cores for state in states),
        tenants=len(resident.tenants),
        use=[_use(resident, ordinal, state) for ordinal, state in enumerate(states)],
        labels=registered.labels,
        attach_dirs=[*map(str, registered.attach_dirs)],
    )


def _effective_share_percent(states: Sequence[_native.VNpuState]) -> float | None:
    least = min(state.effective_share for state in states)
    return least / 100 if least else None


def _use(resident: Resident, ordinal: int, state: _native.VNpuState) -> UseView:
    return UseView(
        device=resident.registered.devices[ordinal],
        granted_cores=state.granted_cores,
        lent_cores=state.lent_cores,
        held_cores=state.held_cores,
        used_s=state.used_ns / 1e9,
        turns=state.turns,
        memory_used=resident.ledger.used(ordinal),
        memory_peak=resident.ledger.peak(ordinal),
    )


def counts(resident: Resident, cores_by_pid: Sequence[Mapping[int, int] | None]) -> VNpuCounts:
    """cores_by_pid: that tasks hold now, of each of its devices."""
    counters = resident.counters
    counters.look(resident.states())
    tenants = resident.tenants.values()
    page = counters.pages(tenant.meter for tenant in tenants if tenant.meter is not None)
    memory_denied = sum(each.memory_denied for each in page.devices)
    return VNpuCounts(
        vnpu=resident.name,
        denials={**counters.denials, MEMORY_DENIAL: memory_denied},
        waits=Buckets(WAIT_BOUNDS_S, page.waits, sum(each.waited_ns for each in page.devices) / 1e9),
        applies=counters.applies.buckets(),
        leases_reclaimed=counters.leases_reclaimed,
        launched=page.launched,
        ungoverned=page.ungoverned,
        steps=dict(zip(STEP_PHASES, page.steps, strict=True)),
        devices=[
            DeviceCounts(
                device=resident.registered.devices[ordinal],
                core_seconds=counters.core_seconds[ordinal].sum,
                throttled_s=section.waited_ns / 1e9,
                launches=dict(zip(LAUNCH_KINDS, section.launches, strict=True)),
                used_cores=None if held is None else sum(held.get(tenant.pid, 0) for tenant in tenants),
            )
            for ordinal, (section, held) in enumerate(zip(page.devices, cores_by_pid, strict=True))
        ],
    )


def tenant(tenant: Tenant) -> TenantView:
    resident = tenant.resident
    page = tenant.report or _native.ReportPage(tenant.pid)
    report = page.read()
    devices = [page.read_device(ordinal) for ordinal in range(len(resident.hosts))]
    return TenantView(
        pid=tenant.pid,
        vnpu=resident.name,
        devices=list(resident.registered.devices),
        present=tenant.report is not None,
        applied=tenant.report is not None and _has_applied(tenant, devices),
        applied_revision=0 if resident.deleted else applied_revision(tenant),
        memory_used=sum(resident.ledger.charged(i, tenant.lease.slot) for i in range(len(devices))),
        memory_denied=sum(each.memory_denied for each in devices),
        waited_s=sum(each.waited_ns for each in devices) / 1e9,
        busy_s=sum(each.busy_ns for each in devices) / 1e9,
        tiled=report.tiled,
        launched=report.launched,
        ungoverned=report.ungoverned,
        launches={kind: sum(each.launches[at] for each in devices) for at, kind in enumerate(LAUNCH_KINDS)},
        graphs=_graphs(page, resident.registered.devices),
        iteration=_last_iteration(page),
    )


def _has_applied(tenant: Tenant, devices: Sequence[_native.DeviceReport]) -> bool:
    page, base = tenant.resident.page, tenant.base_grants
    return all(max(each.applied_grant, base[i]) >= page.grant(i) for i, each in enumerate(devices))


def _graphs(page: _native.ReportPage, devices: Sequence[int]) -> list[GraphView]:
    return [
        GraphView(devices[graph.ordinal], graph.cube, graph.vector, graph.replays)
        for graph in page.graphs()
        if graph.ordinal < len(devices)
    ]


def step(tenant: Tenant, begun: _native.IterationReport, ended: int) -> StepView:
    """ended: how many of its steps are over."""
    seen = asdict(_iteration(begun))
    return StepView(**seen, vnpu=tenant.resident.name, pid=tenant.pid, ended=ended, at_s=begun.at_ns / 1e9)


def _last_iteration(page: _native.ReportPage) -> IterationView | None:
    step = page.iteration()
    return _iteration(step) if step.steps else None


def _iteration(step: _native.IterationReport) -> IterationView:
    return IterationView(
        number=step.steps,
        phase=PHASES[step.phase] if step.phase < len(PHASES) else "unknown",
        requests=step.requests,
        new_tokens=step.new_tokens,
        context_sum=step.context_sum,
        context_most=step.context_most,
        graph=step.graph != 0,
    )
