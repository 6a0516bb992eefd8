# SPDX-License-Identifier: Apache-2.0
"""What an earlier daemon left in the registry, and what of it is still good."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flexnpu.backend import Device
from flexnpu.daemon.host import capacity
from flexnpu.daemon.processes import born
from flexnpu.errors import OverQuota
from flexnpu.tenancy import Granted, Lease, Quota, Registry, VNpu, admit

log = logging.getLogger("flexnpud")


@dataclass(frozen=True, slots=True)
class Survivor:
    """A vNPU that stays, the processes that were attached to it and live, and the grants they may still use."""

    registered: VNpu
    leases: tuple[Lease, ...]
    grants: Mapping[int, Sequence[Granted]]  # by device, the newest last

    def held_on(self, device: int) -> tuple[Quota, list[tuple[int, int, bool]]]:
        """The quota that was granted last, and (revision, cores, time-shared) of everything that may be in use beside
        it."""
        *older, last = self.grants[device]
        held = [(grant.revision, grant.most_cores, grant.share is not None) for grant in older]
        if last.most_cores > last.cores and self.leases:
            held.append((last.revision - 1, last.most_cores, last.share is not None))  # lent, for all we know
        # A change that was registered but not granted any more may have brought less than what is in use.
        wanted = self.registered.quota
        burst = max(last.cores, wanted.most_cores)
        fixed = wanted.fixed_share and last.share is not None
        granted = replace(wanted, revision=last.revision, cores=last.cores, share=last.share, fixed_share=fixed)
        return replace(granted, burst_cores=burst), held


def survivors(registry: Registry, devices: Sequence[Device]) -> list[Survivor]:
    """Those that stay; the others are deleted, each with a line that says why, and so are the leases of the dead."""
    there = {device.index: device for device in devices}
    stay: list[Survivor] = []
    leases = _live_leases(registry)
    for registered in registry.vnpus():
        own = leases.get(registered.id, [])
        trouble = _unfit(registered, [each.registered for each in stay], there) or _orphaned(registered, own)
        if trouble:
            log.warning("dropped vNPU %s: %s", registered.name, trouble)
            registry.delete(registered.name)
            continue
        quota = registered.quota
        fallback = [Granted(quota.revision, quota.cores, quota.most_cores)]
        grants = {device: registry.grants(registered.id, device) or fallback for device in registered.devices}
        stay.append(Survivor(registered, tuple(own), grants))
    return stay


def _live_leases(registry: Registry) -> Mapping[int, list[Lease]]:
    live: dict[int, list[Lease]] = {}
    for lease in registry.leases():
        if born(lease.pid) == lease.born:
            live.setdefault(lease.vnpu, []).append(lease)
        else:
            registry.drop_lease(lease)
    return live


def _unfit(registered: VNpu, others: list[VNpu], devices: Mapping[int, Device]) -> str | None:
    for index in registered.devices:
        if index not in devices:
            return f"device {index} does not exist any more"
        try:
            admit(capacity(devices[index]), others, [registered])
        except OverQuota:
            return f"it does not fit device {index} any more"
    return None


def _orphaned(registered: VNpu, leases: list[Lease]) -> str | None:
    owner = registered.owner
    if owner is None or leases or born(owner.pid) == owner.born:
        return None
    return f"its owner (pid {owner.pid}) is dead"
