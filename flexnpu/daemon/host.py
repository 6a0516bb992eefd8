# SPDX-License-Identifier: Apache-2.0
"""Devices with their arbiters, and the vNPUs and tenants that are on them now."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flexnpu import _native
from flexnpu.backend import Device
from flexnpu.daemon.counts import Counters, Meter
from flexnpu.daemon.processes import Watch
from flexnpu.errors import Refused
from flexnpu.tenancy import Capacity, Lease, Quota, VNpu

# By flexnpu_phase in page.h.
PHASES = ("idle", "prefill", "decode", "mixed")


@dataclass(slots=True)
class Tenant:
    """A process on a vNPU. report is None for one that was attached to an earlier daemon and has not come back."""

    lease: Lease
    resident: Resident
    ids: Sequence[int]  # with the arbiter of each device of the vNPU
    report: _native.ReportPage | None
    base_grants: Sequence[int]  # older ones it cannot have seen, whatever its page says
    watch: Watch | None = None
    ended: bool = False
    hang_up: Callable[[], None] = lambda: None
    denied: list[int] = field(default_factory=list)  # allocations refused, as seen at the last look
    meter: Meter | None = None  # of its report

    @property
    def pid(self) -> int:
        return self.lease.pid


@dataclass(slots=True)
class Resident:
    """A vNPU on its devices. registered: what the registry says now. Tenants by their slot in the ledger."""

    registered: VNpu
    hosts: Sequence[DeviceHost]
    page: _native.ControlPage
    ledger: _native.LedgerPage
    gang: _native.Gang | None
    counters: Counters
    tenants: dict[int, Tenant] = field(default_factory=dict)
    owner: Watch | None = None
    owner_dead: bool = False
    deleted: bool = False
    quotas: dict[int, Quota] = field(default_factory=dict)  # by revision, those that may be granted still
    recorded: dict[int, tuple[int, int]] = field(default_factory=dict)  # by device, as the registry knows it
    told_applied: int = 0  # newest revision that an event said to be applied
    told_lent: float = 0.0
    settling: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, registered: VNpu, hosts: Mapping[int, DeviceHost]) -> Resident:
        page = _native.ControlPage(registered.name, registered.devices)
        page.set_phase(PHASES.index(registered.phase or "idle"))
        ledger = _native.LedgerPage(len(registered.devices))
        quotas = {registered.quota.revision: registered.quota}
        devices = list(registered.devices)
        gang = _native.Gang(devices.index(min(devices))) if len(devices) > 1 else None
        counters = Counters(len(devices))
        return cls(registered, [hosts[index] for index in devices], page, ledger, gang, counters, quotas=quotas)

    @property
    def id(self) -> int:
        return self.registered.id

    @property
    def name(self) -> str:
        return self.registered.name

    def states(self) -> list[_native.VNpuState]:
        return [host.arbiter.state(self.id) for host in self.hosts]

    def is_granted(self) -> bool:
        return all(state.granted_revision > 0 for state in self.states())

    def is_applied(self, revision: int) -> bool:
        return all(state.applied_revision >= revision for state in self.states())

    def applied_revision(self) -> int:
        """The newest that is in force in all of its tenants, on all devices."""
        return min(state.applied_revision for state in self.states())

    def absent(self) -> Iterator[Tenant]:
        return (tenant for tenant in self.tenants.values() if tenant.report is None)

    def free_slot(self) -> int:
        for slot in range(_native.MOST_PROCESSES):
            if slot not in self.tenants:
                return slot
        raise Refused(
            f"vNPU {self.name} has {_native.MOST_PROCESSES} processes already, which is the most",
            next_step="let one of them end first",
            limit=_native.MOST_PROCESSES,
            used=_native.MOST_PROCESSES,
            requested=1,
        )

    def adopt(self, ledger: _native.LedgerPage) -> None:
        """The ledger that its tenants brought along from an earlier daemon; who died since is taken out of it."""
        self.ledger = ledger
        for slot in set(range(_native.MOST_PROCESSES)) - set(self.tenants):
            ledger.release(slot)
        self.settle()

    def release_slot(self, slot: int) -> None:
        if not self.ledger.release(slot):
            self.settle()

    def settle(self, after_s: float = 0.01) -> None:
        """Until the ledger's sums are exact: a tenant that is within a call keeps us waiting, for microseconds if it is
        a good one."""
        self.stop_settling()
        if not self.deleted and not self.ledger.settle():
            loop = asyncio.get_running_loop()
            self.settling = loop.call_later(after_s, self.settle, min(2 * after_s, 1.0))

    def stop_settling(self) -> None:
        if self.settling is not None:
            self.settling.cancel()
            self.settling = None


def granted_quota(quota: Quota, phase: str | None) -> _native.Quota:
    """The registry's quota in the arbiter's words, with the phase that was declared."""
    return _native.Quota(
        revision=quota.revision,
        cores=quota.cores,
        memory_bytes=quota.memory_bytes,
        burst_cores=quota.most_cores,
        vector_cores=quota.vector_cores or 0,
        share=quota.share or 0,
        fixed=quota.fixed_share,
        priority=quota.priority,
        phase=PHASES.index(phase or "idle"),
    )


# What follows has a default only for as long as the arbiter does not tell it.


def applied_revision(tenant: Tenant) -> int:
    """The newest that it has applied on all of its devices."""
    if tenant.report is None:
        return 0
    hosts = zip(tenant.resident.hosts, tenant.ids, strict=True)
    return min(host.arbiter.applied_revision(tenant.resident.id, id_) for host, id_ in hosts)


def capacity(device: Device) -> Capacity:
    """What a device has to give."""
    return Capacity(device.index, device.cores, device.memory_bytes, device.vector_cores)


class DeviceHost:
    """A device's arbiter, the vNPUs on it, and a callback for news of some of them."""

    def __init__(
        self,
        device: Device,
        on_news: Callable[[Sequence[Resident]], None],
        *,
        hails: _native.HailPage,
        by_phase: bool,
    ) -> None:
        self.device = device
        self.arbiter = _native.Arbiter(device.cores, device.vector_cores, by_phase, hails)
        self.residents: dict[int, Resident] = {}
        self._on_news = on_news
        asyncio.get_running_loop().add_reader(self.arbiter.event_fd, self._news)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.arbiter.event_fd)

    def _news(self) -> None:
        os.eventfd_read(self.arbiter.event_fd)
        found = map(self.residents.get, self.arbiter.take_news())
        self._on_news([resident for resident in found if resident is not None])
