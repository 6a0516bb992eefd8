# SPDX-License-Identifier: Apache-2.0
"""A daemon without processes and devices, for those who ask it as flexnpu.client does: devices, vNPUs, events.

Admission is the daemon's own. Whether it is up, what is wrong with a device and who is on a vNPU is the test's to say.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from flexnpu.client import Device, Event, VNpu
from flexnpu.errors import NameTaken, NoDaemon, UnknownVNpu
from flexnpu.tenancy import Capacity, Quota, admit
from flexnpu.tenancy import VNpu as Registered

GIB = 2**30


class FakeNodeDaemon:
    """Of some 910B2 devices, which are software ones unless kind says something else."""

    def __init__(self, devices: int = 1, kind: str = "software", numa: Sequence[int | None] = (None,) * 16) -> None:
        self.kind, self.numa = kind, numa
        self.device_count = devices
        self.up = True
        self.grants = True  # whether a new vNPU gets its cores
        self.trouble: dict[int, str] = {}
        self.registered: dict[str, Registered] = {}
        self.tenants: dict[str, int] = {}
        self.made: list[str] = []
        self.deleted: list[str] = []
        self._ids = 0
        self._events = 0
        self._news = threading.Condition()

    def connect(self) -> FakeClient:
        return FakeClient(self)

    def tell(self) -> None:
        """Something has happened."""
        with self._news:
            self._events += 1
            self._news.notify_all()

    def rename_devices(self) -> None:
        """Others are in their places."""
        self.kind = "other"

    # What a client asks

    def check(self) -> None:
        if not self.up:
            raise NoDaemon("no daemon listens", next_step="start flexnpud")

    def capacity(self, index: int) -> Capacity:
        return Capacity(index, 24, 64 * GIB, 48)

    def device(self, index: int) -> Device:
        here = [vnpu.quota for vnpu in self.registered.values() if index in vnpu.devices]
        return Device(
            index=index,
            uuid=f"{index:08x}-0000-5000-8000-{self.kind.encode().hex():0>12.12}",
            soc="Ascend910B2",
            kind="ascend" if self.kind == "ascend" else "software",
            cores=24,
            memory_bytes=64 * GIB,
            cores_free=24 - sum(quota.cores for quota in here),
            memory_free=64 * GIB - sum(quota.memory_bytes for quota in here),
            environment={"FLEXNPU_SOFTNPU_SOC": "Ascend910B2", "LD_LIBRARY_PATH": "/x", "PATH": "/y"},
            numa_node=self.numa[index],
            trouble=self.trouble.get(index),
        )

    def told(self, vnpu: Registered) -> VNpu:
        quota = vnpu.quota
        return VNpu(
            id=vnpu.id,
            name=vnpu.name,
            device=vnpu.devices[0],
            devices=[*vnpu.devices],
            cores=quota.cores,
            memory_bytes=quota.memory_bytes,
            revision=quota.revision,
            granted_cores=quota.cores if self.grants else 0,
            granted_revision=quota.revision if self.grants else 0,
            applied_revision=quota.revision,
            applied=True,
            tenants=self.tenants.get(vnpu.name, 0),
            labels=dict(vnpu.labels),
            attach_dirs=[*map(str, vnpu.attach_dirs)],
        )

    def put(self, vnpu: Registered) -> Registered:
        others = [other for other in self.registered.values() if other.name != vnpu.name]
        for device in vnpu.devices:
            admit(self.capacity(device), others, [vnpu])
        self.registered[vnpu.name] = vnpu
        self.tell()
        return vnpu

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def wait(self, seen: int) -> int:
        with self._news:
            self._news.wait_for(lambda: self._events != seen or not self.up, timeout=0.2)
            return self._events


class FakeClient:
    """Of flexnpu.client.Client what the plugin uses."""

    def __init__(self, node: FakeNodeDaemon) -> None:
        self._node = node
        self._closed = False

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True

    def devices(self) -> list[Device]:
        self._node.check()
        return [self._node.device(index) for index in range(self._node.device_count)]

    def vnpus(self) -> list[VNpu]:
        self._node.check()
        return [self._node.told(vnpu) for vnpu in self._node.registered.values()]

    def vnpu(self, name: str) -> VNpu:
        return self._node.told(self._find(name))

    def create_vnpu(self, name, *, cores, memory_bytes, device, labels=None, attach_dirs: Sequence[Path] = ()) -> VNpu:
        self._node.check()
        if name in self._node.registered:
            raise NameTaken(f"name {name!r} is taken")
        devices = (device,) if isinstance(device, int) else tuple(device)
        made = Registered(self._node.next_id(), name, devices, Quota(cores, memory_bytes), labels=dict(labels or {}),
                          attach_dirs=tuple(attach_dirs))  # fmt: skip
        for folder in attach_dirs:
            assert folder.is_dir()
        self._node.put(made)
        self._node.made.append(name)
        return self._node.told(made)

    def delete_vnpu(self, name: str) -> None:
        self._find(name)
        assert not self._node.tenants.get(name), "a vNPU with tenants is deleted"
        del self._node.registered[name]
        self._node.deleted.append(name)
        self._node.tell()

    def set_quota(self, name: str, *, cores: int, memory_bytes: int) -> None:
        before = self._find(name)
        quota = Quota(cores, memory_bytes, before.quota.revision + 1)
        self._node.put(replace(before, quota=quota))

    def set_labels(self, name: str, labels) -> VNpu:
        before = self._find(name)
        return self._node.told(self._node.put(replace(before, labels={**before.labels, **labels})))

    def events(self) -> Iterator[Event]:
        seen = self._node.wait(-1)
        while self._node.up and not self._closed:
            yield Event(id=seen, at=0.0, kind="changed", vnpu="", text="")
            seen = self._node.wait(seen)

    def _find(self, name: str) -> Registered:
        self._node.check()
        if name not in self._node.registered:
            raise UnknownVNpu(f"vNPU {name!r} does not exist")
        return self._node.registered[name]
