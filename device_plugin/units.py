# SPDX-License-Identifier: Apache-2.0
"""What the kubelet counts: units of a device's slots, cores and memory, and devices. Their ids never change.

An id is the device's UUID, a letter and a number: 5f6c…-c3 is the device's fourth unit of cores. The kubelet keeps ids
across restarts of itself, of the plugin, of the daemon and of the node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flexnpu.errors import InvalidValue

OWN_PREFIX = "k8s-"  # of the names of vNPUs that the plugin made
_ID = re.compile(r"([0-9a-f-]{36})-([vcmd])(\d{1,6})")


class Kind(StrEnum):
    """Of a resource; the value is its letter in ids."""

    VNPU = "v"
    CORES = "c"
    MEMORY = "m"
    DEVICE = "d"


# Those that bring a container to its vNPU. Where it has several, the first names the vNPU.
CARRIERS = (Kind.VNPU, Kind.CORES, Kind.DEVICE)


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """device: its index."""

    device: int
    kind: Kind
    number: int

    @property
    def key(self) -> str:
        """The vNPU's name, and of its folder, where this is the first of a container's units."""
        return f"{OWN_PREFIX}{self.device}-{self.kind}{self.number}"


@dataclass(frozen=True, slots=True)
class Device:
    """As the daemon tells it. numa: its node, None where that is not known. environment: brings a process to it."""

    index: int
    uuid: str
    soc: str
    kind: str
    cores: int
    memory_bytes: int
    numa: int | None
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What one unit is. slot_cores, slot_memory: None where a device is divided by its number of slots."""

    slots: int
    cores: int
    memory_bytes: int
    slot_cores: int | None = None
    slot_memory: int | None = None


class Inventory:
    """The devices of a node, in units."""

    def __init__(self, devices: Sequence[Device], sizes: Sizes) -> None:
        self.devices = {device.index: device for device in devices}
        self.sizes = sizes
        self._by_uuid = {device.uuid: device for device in devices}
        for device in devices:
            if not (self.slot_cores(device.index) and self.slot_memory(device.index)):
                raise InvalidValue(
                    f"{sizes.slots} slots do not fit device {device.index}, which has {device.cores} cores",
                    next_step="give fewer under resources.vnpu.slots",
                )

    def slot_cores(self, device: int) -> int:
        return self.sizes.slot_cores or self.devices[device].cores // self.sizes.slots

    def slot_memory(self, device: int) -> int:
        """Bytes."""
        return self.sizes.slot_memory or self.devices[device].memory_bytes // self.sizes.slots

    def units(self, kind: Kind) -> Iterator[Unit]:
        """All there are, device by device."""
        for device in self.devices.values():
            for number in range(self._count(device, kind)):
                yield Unit(device.index, kind, number)

    def id(self, unit: Unit) -> str:
        return f"{self.devices[unit.device].uuid}-{unit.kind}{unit.number}"

    def parse(self, id_: str) -> Unit:
        """InvalidValue where it is none of this node's."""
        unit = self._find(id_)
        if unit is None:
            raise InvalidValue(
                f"{id_!r} is nothing that this node has", next_step="delete the pod: the node's devices are others now"
            )
        return unit

    def known(self, ids: Iterable[str]) -> frozenset[Unit]:
        """Those of devices that are there; the kubelet may still have others in mind, of a device that is gone."""
        return frozenset(unit for id_ in ids if (unit := self._find(id_)) is not None)

    def parse_all(self, ids: Iterable[str]) -> frozenset[Unit]:
        return frozenset(map(self.parse, ids))

    def _find(self, id_: str) -> Unit | None:
        found = _ID.fullmatch(id_)
        device = self._by_uuid.get(found[1]) if found else None
        if found is None or device is None or int(found[3]) >= self._count(device, Kind(found[2])):
            return None
        return Unit(device.index, Kind(found[2]), int(found[3]))

    def _count(self, device: Device, kind: Kind) -> int:
        counts = {
            Kind.VNPU: self.sizes.slots,
            Kind.CORES: device.cores // self.sizes.cores,
            Kind.MEMORY: device.memory_bytes // self.sizes.memory_bytes,
            Kind.DEVICE: 1,
        }
        return counts[kind]
