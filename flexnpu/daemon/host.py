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
from flexnpu.tenancy import Lease, VNpu


@dataclass(slots=True)
class Tenant:
    """A process on a vNPU. report is None for one that was attached to an earlier daemon and has not come back."""

    lease: Lease
    id: int
    report: _native.ReportPage | None
    watch: Watch | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Resident:
    """A vNPU on its device. registered: what the registry says now."""

    registered: VNpu
    page: _native.ControlPage
    tenants: dict[int, Tenant] = field(default_factory=dict)
    owner: Watch | None = None
    owner_dead: bool = False
    recorded: tuple[int, int] = (0, 0)  # granted and applied revision as the registry knows them

    @property
    def id(self) -> int:
        return self.registered.id


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
