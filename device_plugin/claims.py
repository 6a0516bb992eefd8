# SPDX-License-Identifier: Apache-2.0
"""What a container's units come to: a vNPU on these devices, with so much of each. Pure.

Units of three resources may be one container's, and the kubelet chooses those of each by itself. Where they lie on
different devices, slots decide for the device, else cores; those of memory are an amount. What a device really has left
is the daemon's to say (offer.py tells the kubelet).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from device_plugin.units import Inventory, Kind, Unit
from flexnpu.errors import Refused


@dataclass(frozen=True, slots=True)
class Claim:
    """cores, memory_bytes: of each of the devices, never summed over them."""

    devices: tuple[int, ...]
    cores: int
    memory_bytes: int


def of_kind(units: Collection[Unit], kind: Kind) -> list[Unit]:
    """In their order."""
    return sorted(unit for unit in units if unit.kind is kind)


def claim(units: Collection[Unit], inventory: Inventory) -> Claim:
    """Refused where a container asked for what makes no vNPU."""
    whole, slots, cores, memory = (of_kind(units, kind) for kind in (Kind.DEVICE, Kind.VNPU, Kind.CORES, Kind.MEMORY))
    if whole:
        if slots or cores or memory:
            raise Refused(
                "a whole device comes with all of its cores and memory", next_step="ask for nothing beside it"
            )
        return _whole([unit.device for unit in whole], inventory)
    if slots:
        return _slots(slots, cores, memory, inventory)
    if not (cores and memory):
        has, lacks = ("memory", "cores") if memory else ("cores", "memory")
        raise Refused(f"the container has {has} of NPUs and no {lacks}", next_step=f"ask for {lacks} as well")
    return _amounts(even(cores), cores, memory, inventory)


def even(units: Collection[Unit]) -> tuple[int, ...]:
    """The devices that they lie on; Refused unless equally many lie on each."""
    by_device = Counter(unit.device for unit in units)
    if len(set(by_device.values())) > 1:
        lie = ", ".join(f"{count} on device {device}" for device, count in sorted(by_device.items()))
        raise Refused(
            f"units are not equally many on each device ({lie})", next_step="ask for fewer, or for whole devices"
        )
    return tuple(sorted(by_device))


def _whole(indexes: list[int], inventory: Inventory) -> Claim:
    devices = [inventory.devices[index] for index in indexes]
    return Claim(tuple(indexes), min(each.cores for each in devices), min(each.memory_bytes for each in devices))


def _slots(slots: list[Unit], cores: list[Unit], memory: list[Unit], inventory: Inventory) -> Claim:
    """Cores and memory of the slots, but for what was asked for by itself."""
    devices = even(slots)
    here, asked = len(slots) // len(devices), _amounts(devices, cores, memory, inventory)
    return Claim(
        devices,
        asked.cores or here * min(map(inventory.slot_cores, devices)),
        asked.memory_bytes or here * min(map(inventory.slot_memory, devices)),
    )


def _amounts(devices: tuple[int, ...], cores: list[Unit], memory: list[Unit], inventory: Inventory) -> Claim:
    return Claim(
        devices,
        _each(len(cores) * inventory.sizes.cores, devices, "cores"),
        _each(len(memory) * inventory.sizes.memory_bytes, devices, "bytes"),
    )


def _each(amount: int, devices: tuple[int, ...], what: str) -> int:
    if amount % len(devices):
        raise Refused(
            f"{amount} {what} cannot be divided by {len(devices)} devices",
            next_step=f"ask for a multiple of {len(devices)}",
        )
    return amount // len(devices)
