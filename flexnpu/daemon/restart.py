# SPDX-License-Identifier: Apache-2.0
"""What an earlier daemon left in the registry, and what of it is still good."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from flexnpu.backend import Device
from flexnpu.daemon.processes import born
from flexnpu.tenancy import Lease, Registry, VNpu

log = logging.getLogger("flexnpud")


@dataclass(frozen=True, slots=True)
class Survivor:
    """A vNPU that stays, the processes that were attached to it and live, and the grants they may still use."""

    registered: VNpu
    leases: tuple[Lease, ...]
    grants: tuple[tuple[int, int], ...]


def survivors(registry: Registry, devices: Mapping[int, Device]) -> list[Survivor]:
    """Those that stay; the others are deleted, each with a line that says why, and so are the leases of the dead."""
    stay: list[Survivor] = []
    for registered in registry.vnpus():
        leases = []
        for lease in registry.leases():
            if lease.vnpu != registered.id:
                continue
            if born(lease.pid) == lease.born:
                leases.append(lease)
            else:
                registry.drop_lease(lease)
        others = [each.registered for each in stay if each.registered.device == registered.device]
        trouble = _unfit(registered, others, devices.get(registered.device)) or _orphaned(registered, leases)
        if trouble:
            log.warning("dropped vNPU %s: %s", registered.name, trouble)
            registry.delete(registered.name)
            continue
        quota = registered.quota
        grants = registry.grants(registered.id) or [(quota.revision, quota.cores)]
        stay.append(Survivor(registered, tuple(leases), tuple(grants)))
    return stay


def _unfit(registered: VNpu, others: list[VNpu], device: Device | None) -> str | None:
    if device is None:
        return f"device {registered.device} does not exist any more"
    here = [*others, registered]
    if sum(vnpu.quota.cores for vnpu in here) > device.cores:
        return f"it does not fit device {device.index} any more"
    if sum(vnpu.quota.memory_bytes for vnpu in here) > device.memory_bytes:
        return f"it does not fit device {device.index} any more"
    return None


def _orphaned(registered: VNpu, leases: list[Lease]) -> str | None:
    owner = registered.owner
    if owner is None or leases or born(owner.pid) == owner.born:
        return None
    return f"its owner (pid {owner.pid}) is dead"
