# SPDX-License-Identifier: Apache-2.0
"""The node: registry, arbiters and tenants together. Everything the API and the attach socket ask for ends here.

Runs in the event loop's thread alone; the arbiters' threads speak through their eventfds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from flexnpu import _native
from flexnpu.backend import Device
from flexnpu.daemon import views
from flexnpu.daemon.host import DeviceHost, Resident, Tenant, granted_quota
from flexnpu.daemon.processes import Watch, born
from flexnpu.daemon.restart import survivors
from flexnpu.errors import InUse, InvalidValue
from flexnpu.tenancy import (
    AppliedView,
    DeviceView,
    Lease,
    Move,
    Owner,
    Quota,
    Registry,
    TenantView,
    VNpu,
    VNpuView,
)
from flexnpu.units import format_size

log = logging.getLogger("flexnpud")


class Node:
    """All devices of this daemon."""

    def __init__(self, devices: Sequence[Device], registry: Registry) -> None:
        self._registry = registry
        self._hosts = {device.index: DeviceHost(device, self._on_news) for device in devices}
        self._residents: dict[str, Resident] = {}
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def close(self) -> None:
        """Let go of every tenant; they keep their last quota."""
        for resident in self._residents.values():
            for watch in (resident.owner, *(tenant.watch for tenant in resident.tenants.values())):
                if watch is not None:
                    watch.close()
        for host in self._hosts.values():
            host.close()
        self._residents.clear()
        self._hosts.clear()

    # What the API asks for

    def devices(self) -> list[DeviceView]:
        registered = self._registry.vnpus()
        return [views.device(host.device, registered) for host in self._hosts.values()]

    def vnpus(self) -> list[VNpuView]:
        return [self._view(resident) for resident in self._residents.values()]

    def vnpu(self, name: str) -> VNpuView:
        return self._view(self._resident(name))

    def tenants(self) -> list[TenantView]:
        return [
            views.tenant(tenant, resident.registered, resident.ledger)
            for resident in self._residents.values()
            for tenant in resident.tenants.values()
        ]

    def create(self, name: str, device: int, quota: Quota, phase: str | None, owner_pid: int | None) -> VNpuView:
        owner = None if owner_pid is None else _owner(owner_pid)
        registered = self._registry.create(VNpu(0, name, device, quota, phase, owner))
        resident = Resident.of(registered)
        self._residents[name] = resident
        self._arbiter(resident).add(resident.id, resident.page, 0, granted_quota(quota))
        self._record(resident)
        self._watch_owner(resident)
        log.info("created %s: %d cores, %s on device %d", name, quota.cores, format_size(quota.memory_bytes), device)
        return self._view(resident)

    def delete(self, name: str, *, force: bool) -> None:
        resident = self._resident(name)
        live = [tenant.lease.pid for tenant in resident.tenants.values()]
        if live and not force:
            raise InUse(
                f"vNPU {name} has a live tenant (pid {', '.join(map(str, live))})",
                next_step="stop it first, or delete with --force, which kills it",
            )
        for tenant in resident.tenants.values():
            if tenant.watch is not None:
                with contextlib.suppress(OSError):  # dead by now, or not ours to kill: then it holds its cores on
                    signal.pidfd_send_signal(tenant.watch.pidfd, signal.SIGKILL)
        self._forget(resident)

    def set_quota(
        self, name: str, *, cores: int | None, memory_bytes: int | None, if_revision: int | None
    ) -> Mapping[str, int]:
        resident = self._resident(name)
        if memory_bytes is not None:
            _check_memory_in_use(resident, memory_bytes)
        after = self._registry.set_quota(name, cores=cores, memory_bytes=memory_bytes, if_revision=if_revision)
        return self._change([after])

    def rebalance(self, moves: Sequence[Move]) -> Mapping[str, int]:
        return self._change(self._registry.rebalance(moves))

    async def applied(self, revisions: Mapping[str, int], within_s: float) -> AppliedView:
        """Wait until all of these revisions (or later ones) are applied, for at most so long."""
        residents = [(self._resident(name), revision) for name, revision in revisions.items()]

        def done() -> bool:
            return all(
                self._residents.get(resident.registered.name) is not resident
                or self._arbiter(resident).state(resident.id).applied_revision >= revision
                for resident, revision in residents
            )

        applied = await self._until(done, within_s)
        if not applied or any(name not in self._residents for name in revisions):
            return AppliedView(revisions, applied=False, applied_after_s=None)
        states = [self._arbiter(resident).state(resident.id) for resident, _ in residents]
        return AppliedView(revisions, True, max((state.applied_after_ns for state in states), default=0) / 1e9)

    # What the attach socket asks for

    def knows(self, name: str) -> bool:
        return name in self._residents

    async def attach(self, name: str, pid: int, pidfd: int, within_s: float) -> tuple[Tenant, Resident]:
        """The tenant and where it is. Owns pidfd. Waits until the vNPU has been granted its cores."""
        tenant: Tenant | None = None

        def ended() -> None:
            if tenant is not None:
                self.detach(name, tenant)

        resident = self._resident(name)
        watch = Watch(pidfd, ended)
        try:
            await self._granted(resident, within_s)
            _check_alive(watch, pid, name)
            lease = Lease(resident.id, pid, born(pid) or "")
            report = _native.ReportPage(pid)
            absent = [old for old in resident.tenants.values() if old.lease == lease and old.report is None]
            self._registry.add_lease(lease)
            id_ = self._arbiter(resident).attach(resident.id, report, pid, not absent)
            tenant = Tenant(lease, id_, report, watch, slot=resident.take_slot())
        except BaseException:
            watch.close()
            raise
        resident.tenants[tenant.id] = tenant
        for old in absent:
            self._drop(resident, old, keep_lease=True)
        log.info("attached pid %d to %s", pid, name)
        return tenant, resident

    async def _granted(self, resident: Resident, within_s: float) -> None:
        name = resident.registered.name
        arbiter = self._arbiter(resident)

        def done() -> bool:
            return self._residents.get(name) is not resident or arbiter.state(resident.id).granted_revision > 0

        if not await self._until(done, within_s):
            raise InUse(f"cores of vNPU {name} are still in use by others", next_step="see flexnpu ps")
        self._resident(name)  # raises when it was deleted meanwhile

    def detach(self, name: str, tenant: Tenant) -> None:
        """Take the lease back; does nothing the second time."""
        resident = self._residents.get(name)
        if resident is None or resident.tenants.get(tenant.id) is not tenant:
            tenant.ended.set()
            self._release_leaving(tenant)
            return
        log.info("pid %d left %s", tenant.lease.pid, name)
        self._drop(resident, tenant)
        self._bury(resident)

    # A restart

    def restore(self) -> bool:
        """Take up what an earlier daemon registered; whether processes of its time are still on it."""
        found = survivors(self._registry, {index: host.device for index, host in self._hosts.items()})
        # First what was granted, so that every arbiter knows all that is held; then what is wanted beyond it.
        for survivor in found:
            vnpu = survivor.registered
            resident = Resident.of(vnpu)
            self._residents[vnpu.name] = resident
            *older, (revision, cores) = survivor.grants
            last = replace(vnpu.quota, revision=revision, cores=cores)
            absent = self._arbiter(resident).restore(
                vnpu.id, resident.page, 0, granted_quota(last), older, len(survivor.leases)
            )
            for id_, lease in zip(absent, survivor.leases, strict=True):
                self._watch_absent(resident, Tenant(lease, id_, None))
        for survivor in found:
            self._change([survivor.registered])
            self._watch_owner(self._residents[survivor.registered.name])
        return any(survivor.leases for survivor in found)

    def _watch_absent(self, resident: Resident, tenant: Tenant) -> None:
        name = resident.registered.name
        resident.tenants[tenant.id] = tenant
        tenant.watch = Watch.of(tenant.lease.pid, tenant.lease.born, lambda: self.detach(name, tenant))
        if tenant.watch is None:
            self.detach(name, tenant)

    # Inside

    def _resident(self, name: str) -> Resident:
        self._registry.get(name)  # raises UnknownVNpu
        return self._residents[name]

    def _arbiter(self, resident: Resident) -> _native.Arbiter:
        return self._hosts[resident.registered.device].arbiter

    def _view(self, resident: Resident) -> VNpuView:
        return views.vnpu(resident, self._arbiter(resident).state(resident.id))

    def _change(self, after: Sequence[VNpu]) -> Mapping[str, int]:
        changes: dict[int, list[tuple[int, _native.Quota]]] = {}
        for vnpu in after:
            resident = self._residents[vnpu.name]
            resident.registered = vnpu
            if self._arbiter(resident).state(vnpu.id).desired_revision != vnpu.quota.revision:
                changes.setdefault(vnpu.device, []).append((vnpu.id, granted_quota(vnpu.quota)))
        for device, wanted in changes.items():
            self._hosts[device].arbiter.change(wanted)
        for vnpu in after:
            self._record(self._residents[vnpu.name])
        return {vnpu.name: vnpu.quota.revision for vnpu in after}

    def _on_news(self, host: DeviceHost) -> None:
        for resident in self._residents.values():
            if resident.registered.device == host.device.index:
                self._record(resident)
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)

    def _record(self, resident: Resident) -> None:
        state = self._arbiter(resident).state(resident.id)
        known = (state.granted_revision, state.applied_revision)
        if state.granted_revision and known != resident.recorded:
            grant = (state.granted_revision, state.granted_cores)
            self._registry.record_grant(resident.id, grant, state.applied_revision)
            resident.recorded = known

    async def _until(self, condition: Callable[[], bool], within_s: float) -> bool:
        if condition():
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        self._waiting.append(entry)
        try:
            await asyncio.wait_for(future, within_s)
        except TimeoutError:
            return condition()
        finally:
            self._waiting.remove(entry)
        return True

    def _watch_owner(self, resident: Resident) -> None:
        owner = resident.registered.owner
        if owner is None:
            return

        def died() -> None:
            resident.owner_dead = True
            self._bury(resident)

        resident.owner = Watch.of(owner.pid, owner.born, died)
        if resident.owner is None:
            died()

    def _bury(self, resident: Resident) -> None:
        # Children of the owner may still be at work on the vNPU; it goes with the last of them.
        if resident.owner_dead and not resident.tenants and self._residents.get(resident.registered.name) is resident:
            self._forget(resident)

    def _forget(self, resident: Resident) -> None:
        name = resident.registered.name
        self._registry.delete(name)
        del self._residents[name]
        if resident.owner is not None:
            resident.owner.close()
        self._arbiter(resident).remove(resident.id)
        log.info("deleted %s", name)

    def _drop(self, resident: Resident, tenant: Tenant, *, keep_lease: bool = False) -> None:
        del resident.tenants[tenant.id]
        resident.release_slot(tenant.slot)
        if tenant.watch is not None:
            tenant.watch.close()
        if not keep_lease:
            self._registry.drop_lease(tenant.lease)
        self._arbiter(resident).detach(resident.id, tenant.id)
        tenant.ended.set()

    def _release_leaving(self, tenant: Tenant) -> None:
        """A tenant of a vNPU that was deleted under it gives its cores back when it ends."""
        if tenant.watch is not None:
            tenant.watch.close()
        for host in self._hosts.values():
            host.arbiter.detach(tenant.lease.vnpu, tenant.id)


def _owner(pid: int) -> Owner:
    birth = born(pid)
    if birth is None:
        raise InvalidValue(f"owner_pid {pid} is not a live process", next_step="give the pid of a running process")
    return Owner(pid, birth)


def _check_alive(watch: Watch, pid: int, name: str) -> None:
    if watch.pidfd < 0:
        raise InUse(f"pid {pid} died while it waited for vNPU {name}")


def _check_memory_in_use(resident: Resident, memory_bytes: int) -> None:
    used = resident.ledger.used(0)
    if used > memory_bytes:
        raise InUse(
            f"memory of {resident.registered.name} cannot become {format_size(memory_bytes)}: "
            f"its programs use {format_size(used)}",
            next_step="ask for at least that, or let them free some first",
            limit=memory_bytes,
            used=used,
            requested=memory_bytes,
        )
