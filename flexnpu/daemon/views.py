# SPDX-License-Identifier: Apache-2.0
"""What the daemon shows of its devices, vNPUs and tenants."""

from __future__ import annotations

from collections.abc import Sequence

from flexnpu import _native
from flexnpu.backend import Device, live_state
from flexnpu.daemon.host import Resident, Tenant
from flexnpu.tenancy import DeviceView, TenantView, Usage, VNpu, VNpuView

# By flexnpu_launch_kind in page.h.
LAUNCH_KINDS = ("kernel", "graph", "copy", "set", "host", "comm", "legacy_op")


def device(device: Device, registered: Sequence[VNpu]) -> DeviceView:
    usage = Usage.of(registered, device.index)
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
    )


def vnpu(resident: Resident, state: _native.VNpuState) -> VNpuView:
    registered = resident.registered
    return VNpuView(
        name=registered.name,
        device=registered.device,
        cores=registered.quota.cores,
        memory_bytes=registered.quota.memory_bytes,
        revision=registered.quota.revision,
        phase=registered.phase,
        owner_pid=registered.owner.pid if registered.owner else None,
        granted_cores=state.granted_cores,
        granted_revision=state.granted_revision,
        applied_revision=state.applied_revision,
        applied=state.applied_revision >= registered.quota.revision,
        tenants=len(resident.tenants),
    )


def tenant(tenant: Tenant, registered: VNpu, ledger: _native.LedgerPage) -> TenantView:
    page = tenant.report or _native.ReportPage(tenant.lease.pid)
    report, device = page.read(), page.read_device(0)
    return TenantView(
        pid=tenant.lease.pid,
        vnpu=registered.name,
        device=registered.device,
        present=tenant.report is not None,
        seen_revision=device.seen_grant,
        applied_revision=device.applied_grant,
        memory_used=ledger.charged(0, tenant.slot) if tenant.slot != _native.NO_SLOT else 0,
        memory_peak=ledger.peak(0),
        memory_denied=device.memory_denied,
        tiled=report.tiled,
        launched=report.launched,
        ungoverned=report.ungoverned,
        launches=dict(zip(LAUNCH_KINDS, device.launches, strict=False)),
    )
