# SPDX-License-Identifier: Apache-2.0
"""Which units the kubelet may give away: what it gave stays healthy, and of the rest so many as the device has left.

Slots, cores, memory and whole devices are counted by the scheduler as if they were apart, and they are the same device.
So each change takes units that are no more there out of the others' lists, and puts them back later. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from device_plugin.claims import of_kind
from device_plugin.units import Inventory, Kind, Unit


@dataclass(frozen=True, slots=True)
class Amount:
    """Of one device."""

    cores: int
    memory_bytes: int

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cores + other.cores, self.memory_bytes + other.memory_bytes)

    def __sub__(self, other: Amount) -> Amount:
        """Nothing less than 0."""
        return Amount(max(0, self.cores - other.cores), max(0, self.memory_bytes - other.memory_bytes))


NOTHING = Amount(0, 0)


@dataclass(frozen=True, slots=True)
class Registered:
    """What the daemon has guaranteed on a device: to vNPUs of containers, and to all. trouble: why it is unusable."""

    own: Amount
    all: Amount
    trouble: str | None = None


def given(groups: Iterable[Collection[Unit]], inventory: Inventory) -> dict[int, Amount]:
    """By device, what the kubelet has given to containers. A slot counts as its size unless cores or memory came with
    it."""
    bare_cores, bare_memory, held = set[Unit](), set[Unit](), set[Unit]()
    for units in groups:
        held |= set(units)
        slots = of_kind(units, Kind.VNPU)
        if not of_kind(units, Kind.CORES):
            bare_cores |= set(slots)
        if not of_kind(units, Kind.MEMORY):
            bare_memory |= set(slots)
    return {index: _given_on(index, held, bare_cores, bare_memory, inventory) for index in inventory.devices}


def _given_on(
    index: int, held: set[Unit], bare_cores: set[Unit], bare_memory: set[Unit], inventory: Inventory
) -> Amount:
    device, sizes = inventory.devices[index], inventory.sizes
    here = [unit for unit in held if unit.device == index]
    if of_kind(here, Kind.DEVICE):
        return Amount(device.cores, device.memory_bytes)
    slots_cores = sum(unit.device == index for unit in bare_cores) * inventory.slot_cores(index)
    slots_memory = sum(unit.device == index for unit in bare_memory) * inventory.slot_memory(index)
    return Amount(
        slots_cores + len(of_kind(here, Kind.CORES)) * sizes.cores,
        slots_memory + len(of_kind(here, Kind.MEMORY)) * sizes.memory_bytes,
    )


def left(
    groups: Sequence[Collection[Unit]], registered: Mapping[int, Registered], inventory: Inventory
) -> dict[int, Amount]:
    """By device, what is neither given to a container nor guaranteed to a vNPU of somebody else. A container whose vNPU
    has grown takes what it has grown to."""
    promised = given(groups, inventory)
    remain = {}
    for index, device in inventory.devices.items():
        there = registered.get(index, Registered(NOTHING, NOTHING))
        others = there.all - there.own
        own = Amount(
            max(there.own.cores, promised[index].cores), max(there.own.memory_bytes, promised[index].memory_bytes)
        )
        remain[index] = Amount(device.cores, device.memory_bytes) - (others + own)
    return remain


def healthy(
    kind: Kind, groups: Sequence[Collection[Unit]], registered: Mapping[int, Registered], inventory: Inventory
) -> dict[Unit, bool]:
    """Every unit of the kind, and whether it may be given or kept."""
    held = {unit for units in groups for unit in units}
    remain = left(groups, registered, inventory)
    room = {index: _room(kind, index, remain[index], inventory) for index in inventory.devices}
    answer = {}
    for unit in inventory.units(kind):
        there = registered.get(unit.device)
        fits = unit in held or room[unit.device] > 0
        if unit not in held:
            room[unit.device] -= 1
        answer[unit] = fits and there is not None and there.trouble is None
    return answer


def _room(kind: Kind, index: int, remain: Amount, inventory: Inventory) -> int:
    """How many more of them fit."""
    device, sizes = inventory.devices[index], inventory.sizes
    match kind:
        case Kind.CORES:
            return remain.cores // sizes.cores
        case Kind.MEMORY:
            return remain.memory_bytes // sizes.memory_bytes
        case Kind.VNPU:
            by_memory = remain.memory_bytes // inventory.slot_memory(index)
            return min(remain.cores // inventory.slot_cores(index), by_memory)
        case Kind.DEVICE:
            return int(remain == Amount(device.cores, device.memory_bytes))
