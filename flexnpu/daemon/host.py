# SPDX-License-Identifier: Apache-2.0
"""One device with its arbiter, and the vNPUs and tenants that are on it now."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from flexnpu import _native
from flexnpu.backend import Device
from flexnpu.daemon.processes import Watch
from flexnpu.tenancy import Lease, Quota, VNpu


@dataclass(slots=True)
class Tenant:
    """A process on a vNPU. report is None for one that was attached to an earlier daemon and has not come back."""

    lease: Lease
    id: int
    report: _native.ReportPage | None
    watch: Watch | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    slot: int = _native.NO_SLOT  # in the ledger


@dataclass(slots=True)
class Resident:
    """A vNPU on its device. registered: what the registry says now."""

    registered: VNpu
    page: _native.ControlPage
    ledger: _native.LedgerPage
    tenants: dict[int, Tenant] = field(default_factory=dict)
    owner: Watch | None = None
    owner_dead: bool = False
    recorded: tuple[int, int] = (0, 0)  # granted and applied revision as the registry knows them

    @classmethod
    def of(cls, registered: VNpu) -> Resident:
        page = _native.ControlPage(registered.name, [registered.device])
        return cls(registered, page, _native.LedgerPage(1))

    @property
    def id(self) -> int:
        return self.registered.id

    def take_slot(self) -> int:
        taken = {tenant.slot for tenant in self.tenants.values()}
        return next(slot for slot in range(_native.MOST_PROCESSES) if slot not in taken)

    def release_slot(self, slot: int) -> None:
        if slot != _native.NO_SLOT and not self.ledger.release(slot):
            self.ledger.settle()


def granted_quota(quota: Quota) -> _native.Quota:
    """The registry's quota in the arbiter's words."""
    return _native.Quota(revision=quota.revision, cores=quota.cores, memory_bytes=quota.memory_bytes)


class DeviceHost:
    """A device's arbiter and a callback for its news."""

    def __init__(self, device: Device, on_news: Callable[[DeviceHost], None]) -> None:
        self.device = device
        self.arbiter = _native.Arbiter(device.cores, device.vector_cores)
        self._on_news = on_news
        asyncio.get_running_loop().add_reader(self.arbiter.event_fd, self._news)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.arbiter.event_fd)

    def _news(self) -> None:
        os.eventfd_read(self.arbiter.event_fd)
        self._on_news(self)
