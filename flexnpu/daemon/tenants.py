# SPDX-License-Identifier: Apache-2.0
"""Processes on vNPUs: how they come, come back after a restart of the daemon, and go."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flexnpu import _native
from flexnpu.daemon.counts import Meter
from flexnpu.daemon.events import Events
from flexnpu.daemon.host import Resident, Tenant
from flexnpu.daemon.processes import Watch, born
from flexnpu.daemon.waiting import Waiting
from flexnpu.errors import InUse, RegistryError
from flexnpu.tenancy import Lease, Registry

log = logging.getLogger("flexnpud")

_Page = TypeVar("_Page")

GRANT_WITHIN_S = 10.0
BACK_WITHIN_S = 3.0  # tenants try to come back every 0.2 s
# A look takes about a microsecond for each tenant and device, so many are looked at less often.
LOOK_EVERY_S = 2.0
LOOKS_PER_S = 200


class RefusalError(Exception):
    """A welcome that is none."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class HandedBack:
    """What a process that was attached to an earlier daemon brings along. The descriptors stay the connection's."""

    slot: int
    report: int
    ledger: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A process that asks to be a tenant, by the kernel's word."""

    vnpu: str
    pid: int
    back: HandedBack | None


class Tenants:
    """All of this node. on_empty: called with a vNPU that the last of its tenants has left."""

    def __init__(
        self, registry: Registry, events: Events, waiting: Waiting, on_empty: Callable[[Resident], None]
    ) -> None:
        self._registry = registry
        self._events = events
        self._waiting = waiting
        self._on_empty = on_empty
        self._by_key: dict[int, Tenant] = {}
        self._look_timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Let go of every tenant; they keep their last quota, and the registry their leases."""
        for tenant in self._by_key.values():
            tenant.ended = True
            if tenant.watch is not None:
                tenant.watch.close()
        self._by_key.clear()
        if self._look_timer is not None:
            self._look_timer.cancel()

    def is_ready(self, resident: Resident, arrival: Arrival) -> bool:
        """Whether it can be attached at once."""
        if resident.deleted:
            return True
        return resident.is_granted() and (arrival.back is not None or not self._awaited(resident, arrival.pid))

    async def until_ready(self, resident: Resident, arrival: Arrival) -> None:
        """Waits for those who bring the vNPU's ledger along, and for its cores; InUse when it takes too long."""

        def back() -> bool:
            return resident.deleted or arrival.back is not None or not self._awaited(resident, arrival.pid)

        if not await self._waiting.until(back, BACK_WITHIN_S):
            pids = ", ".join(map(str, self._awaited(resident, arrival.pid)))
            raise InUse(
                f"pid {pids} of vNPU {resident.name} has not come back since the daemon was restarted",
                next_step="restart that program",
            )
        if not await self._waiting.until(lambda: resident.deleted or resident.is_granted(), GRANT_WITHIN_S):
            raise InUse(f"cores of vNPU {resident.name} are still in use by others", next_step="see flexnpu ps")

    def attach(self, resident: Resident, arrival: Arrival, pidfd: int) -> Tenant:
        """Makes it a tenant; owns pidfd. RefusalError, or what the registry raises, and nothing has changed."""
        try:
            tenant = self._admitted(resident, arrival)
        except BaseException:
            os.close(pidfd)
            raise
        tenant.watch = Watch(pidfd, lambda: self.detach(tenant))
        self._by_key[id(tenant)] = tenant
        self._events.publish("attached", resident.name, f"attached pid {tenant.pid} to {resident.name}", pid=tenant.pid)
        self._look_later()
        self._waiting.look()
        return tenant

    def expect(self, resident: Resident, lease: Lease, ids: list[int]) -> None:
        """A process of an earlier daemon's time that may come back."""
        tenant = Tenant(lease, resident, ids, None, [0] * len(ids))
        resident.tenants[lease.slot] = tenant
        self._by_key[id(tenant)] = tenant
        tenant.watch = Watch.of(lease.pid, lease.born, lambda: self.detach(tenant))
        if tenant.watch is None:
            self.detach(tenant)

    def detach(self, tenant: Tenant) -> None:
        """Take the lease back; does nothing the second time."""
        if tenant.ended:
            return
        resident = tenant.resident
        self.look_for_denials(tenant)
        resident.counters.leases_reclaimed += 1
        if tenant.meter is not None:
            resident.counters.keep(tenant.meter)
        self._drop(tenant)
        self._events.publish("left", resident.name, f"pid {tenant.pid} left {resident.name}", pid=tenant.pid)
        if not resident.deleted:
            self._drop_lease(tenant.lease)
            if not resident.tenants:
                self._on_empty(resident)
        self._waiting.look()

    def look_for_denials(self, tenant: Tenant) -> None:
        """An event for allocations that were refused since the last look."""
        if tenant.report is None:
            return
        now = [tenant.report.read_device(ordinal).memory_denied for ordinal in range(len(tenant.ids))]
        for host, before, after in zip(tenant.resident.hosts, tenant.denied or [0] * len(now), now, strict=True):
            if after > before:
                quota, name = tenant.resident.registered.quota, tenant.resident.name
                text = (
                    f"refused {after - before} allocations of pid {tenant.pid} on {name}, device {host.device.index}: "
                    f"its limit is {quota.memory_bytes} bytes"
                )
                self._events.publish("denied", name, text, pid=tenant.pid)
        tenant.denied = now

    @staticmethod
    def _awaited(resident: Resident, pid: int) -> list[int]:
        # A program that was replaced (exec) while no daemon lived comes as a new one; it need not wait for itself.
        return [tenant.pid for tenant in resident.absent() if tenant.pid != pid]

    def _admitted(self, resident: Resident, arrival: Arrival) -> Tenant:
        birth = born(arrival.pid)
        if birth is None:
            raise InUse(f"pid {arrival.pid} died while it waited for vNPU {resident.name}")
        if arrival.back is None:
            return self._fresh(resident, arrival.pid, birth)
        return self._returned(resident, arrival.pid, birth, arrival.back)

    def _fresh(self, resident: Resident, pid: int, birth: str) -> Tenant:
        replaced = [old for old in resident.absent() if (old.lease.pid, old.lease.born) == (pid, birth)]
        slot = replaced[0].lease.slot if replaced else resident.free_slot()
        lease = Lease(resident.id, slot, pid, birth)
        report = _native.ReportPage(pid)
        self._registry.add_lease(lease)
        tenant = self._enter(resident, lease, report, fresh=not replaced)
        for old in replaced:
            self._drop(old)
        return tenant

    def _returned(self, resident: Resident, pid: int, birth: str, back: HandedBack) -> Tenant:
        old = resident.tenants.get(back.slot)
        if old is None or old.report is not None or (old.lease.pid, old.lease.born) != (pid, birth):
            raise RefusalError(
                _native.DENIED,
                f"pid {pid} has no lease on vNPU {resident.name} in slot {back.slot} to come back to; restart it",
            )
        report = _page(lambda: _native.ReportPage(os.dup(back.report), pid))
        if any(tenant.report is not None for tenant in resident.tenants.values()):
            if not resident.ledger.is_fd(back.ledger):
                text = f"the ledger is not that of vNPU {resident.name}; restart pid {pid}"
                raise RefusalError(_native.BAD_HELLO, text)
        else:
            resident.adopt(_page(lambda: _native.LedgerPage(os.dup(back.ledger), len(resident.hosts))))
        # The new one first: what the old one may still use must stay held throughout.
        tenant = self._enter(resident, old.lease, report, fresh=False)
        self._forget(old)
        return tenant

    def _enter(self, resident: Resident, lease: Lease, report: _native.ReportPage, *, fresh: bool) -> Tenant:
        base = [resident.page.grant(ordinal) if fresh else 0 for ordinal in range(len(resident.hosts))]
        ids = [host.arbiter.attach(resident.id, report, lease.pid, fresh) for host in resident.hosts]
        tenant = Tenant(lease, resident, ids, report, base)
        tenant.denied = [report.read_device(ordinal).memory_denied for ordinal in range(len(ids))]
        tenant.meter = Meter(report, len(ids))
        resident.tenants[lease.slot] = tenant
        return tenant

    def _drop(self, tenant: Tenant) -> None:
        self._forget(tenant)
        tenant.resident.release_slot(tenant.lease.slot)
        hang_up, tenant.hang_up = tenant.hang_up, lambda: None  # who knew each other would keep each other's pages
        hang_up()

    def _forget(self, tenant: Tenant) -> None:
        tenant.ended = True
        self._by_key.pop(id(tenant), None)
        # The cores first: others wait for them.
        for host, id_ in zip(tenant.resident.hosts, tenant.ids, strict=True):
            host.arbiter.detach(tenant.resident.id, id_)
        if tenant.resident.tenants.get(tenant.lease.slot) is tenant:
            del tenant.resident.tenants[tenant.lease.slot]
        if tenant.watch is not None:
            tenant.watch.close()

    def _drop_lease(self, lease: Lease) -> None:
        try:
            self._registry.drop_lease(lease)
        except RegistryError as error:  # the next daemon finds the process dead
            log.warning("%s", error)

    def _look_later(self) -> None:
        if self._look_timer is None and self._by_key:
            wait = max(LOOK_EVERY_S, len(self._by_key) / LOOKS_PER_S)
            self._look_timer = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        self._look_timer = None
        for tenant in [*self._by_key.values()]:
            self.look_for_denials(tenant)
        self._look_later()


def _page(open_: Callable[[], _Page]) -> _Page:
    try:
        return open_()
    except (ValueError, OSError) as error:
        raise RefusalError(_native.BAD_HELLO, f"{error}; restart that program") from error
