# SPDX-License-Identifier: Apache-2.0
"""A node for the admin API that is not there: one device, one vNPU and its tenant; it notes what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Unpack

from flexnpu.errors import NameTaken, NotFound, OverQuota, RegistryError, RevisionChanged, UnknownDevice, UnknownVNpu
from flexnpu.tenancy import (
    AppliedView,
    Buckets,
    DeviceCounts,
    DeviceView,
    EventView,
    GraphView,
    IterationView,
    Move,
    NodeCounts,
    QuotaFields,
    StepView,
    TenantView,
    UseView,
    VNpu,
    VNpuCounts,
    VNpuView,
)

GIB = 2**30
DEVICE = DeviceView(0, "Ascend910B2", "software", 24, 64 * GIB, 12, 56 * GIB, 0, "free", "exact", 1.0, {"A": "b"})
VNPU = VNpuView(
    id=7,
    name="a",
    device=0,
    devices=[0],
    cores=12,
    burst_cores=16,
    vector_cores=None,
    memory_bytes=8 * GIB,
    share_percent=25.0,
    effective_share_percent=30.0,
    fixed_share=False,
    priority=1,
    revision=3,
    phase=None,
    owner_pid=None,
    granted_cores=14,
    granted_revision=3,
    applied_revision=3,
    applied=True,
    lent_cores=2,
    tenants=1,
    use=[UseView(0, 14, 2, 14, 1.5, 7, GIB, 2 * GIB)],
)
TENANT = TenantView(
    pid=42,
    vnpu="a",
    devices=[0],
    present=True,
    applied=True,
    applied_revision=3,
    memory_used=GIB,
    memory_denied=0,
    waited_s=0.5,
    busy_s=0.0,
    tiled=5,
    launched=5,
    ungoverned=0,
    launches={"kernel": 5},
    graphs=[GraphView(0, 12, 24, 9)],
    iteration=IterationView(3, "decode", 8, 8, 4096, 1024, True),
)
COUNTS = VNpuCounts(
    vnpu="a",
    denials={"memory": 2, "quota": 0},
    waits=Buckets((0.001, 0.1), (3, 1, 0), 0.05),
    applies=Buckets((0.01,), (1, 0), 0.004),
    leases_reclaimed=4,
    launched=5,
    ungoverned=0,
    steps={"prefill": 1, "decode": 9, "mixed": 0},
    devices=[DeviceCounts(0, 17.5, 0.05, {"kernel": 5, "graph": 0}, 6)],
)
EVENTS = [
    [EventView(4, 1.5, "attached", "a", 42, None, "attached pid 42 to a")],
    [],
    [EventView(5, 2.5, "applied", "a", None, 3, "…")],
]


@dataclass
class FakeNode:
    applies: bool = True
    broken: bool = False
    others: int = 0
    revision: int = 3
    asked: list[object] = field(default_factory=list)

    def devices(self) -> Sequence[DeviceView]:
        return [DEVICE]

    def device(self, index: int) -> DeviceView:
        if index != DEVICE.index:
            raise UnknownDevice.among(index, [DEVICE.index])
        return DEVICE

    def check_ready(self) -> None:
        if self.broken:
            raise RegistryError("registry cannot be changed", next_step="free some space")

    def vnpus(self, after: int = 0, most: int | None = None) -> Sequence[VNpuView]:
        there = [VNPU, *(replace(VNPU, id=number, name=f"v{number}") for number in range(8, 8 + self.others))]
        return [vnpu for vnpu in there if vnpu.id > after][:most]

    def id_of(self, name: str) -> int:
        return self.vnpu(name).id

    def name_of(self, id_: int) -> str:
        if id_ != VNPU.id:
            raise NotFound(f"vNPU number {id_} is not there any more", next_step="see flexnpu ps")
        return VNPU.name

    def publish(self, kind: str, text: str) -> None:
        self.asked.append((kind, text))

    def vnpu(self, name: str) -> VNpuView:
        for vnpu in self.vnpus():
            if vnpu.name == name:
                return replace(vnpu, revision=self.revision)
        raise UnknownVNpu(f"vNPU {name!r} does not exist", next_step="see flexnpu ps")

    def tenants(self, vnpu: str | None = None) -> Sequence[TenantView]:
        return [TENANT] if vnpu in (None, TENANT.vnpu) else []

    def create(self, wanted: VNpu, owner_pid: int | None) -> VNpuView:
        self.asked.append((wanted, owner_pid))
        if wanted.name == "a":
            raise NameTaken("name 'a' is taken", next_step="choose another")
        cores = wanted.quota.cores
        if cores > 12:
            raise OverQuota("too many", limit=24, used=12, requested=cores, next_step="ask for 12")
        return VNPU

    def delete(self, name: str, *, if_revision: int | None, force: bool) -> None:
        self.asked.append((name, if_revision, force))

    def set_quota(self, name: str, *, if_revision: int | None, **fields: Unpack[QuotaFields]) -> Mapping[str, int]:
        return self._changed(name, fields, if_revision)

    def set_phase(self, name: str, phase: str | None, *, if_revision: int | None) -> Mapping[str, int]:
        return self._changed(name, phase, if_revision)

    def counts(self) -> NodeCounts:
        return NodeCounts({"bad_hello": 1}, {0: 14}, {0: 6})

    def counted(self) -> Iterator[tuple[VNpuView, VNpuCounts]]:
        return ((each, replace(COUNTS, vnpu=each.name)) for each in self.vnpus())

    def _changed(self, name: str, what: object, if_revision: int | None) -> Mapping[str, int]:
        if if_revision not in (None, self.revision):
            raise RevisionChanged("it is another", next_step="read it again")
        self.asked.append((name, what, if_revision))
        self.revision += 1
        return {name: self.revision}

    def rebalance(self, moves: Sequence[Move], *, dry_run: bool) -> Mapping[str, int]:
        self.asked.append((list(moves), dry_run))
        return {move.vnpu: 4 for move in moves}

    async def applied(self, revisions: Mapping[str, int], within_s: float) -> AppliedView:
        self.asked.append(within_s)
        observed = revisions if self.applies else {name: revision - 1 for name, revision in revisions.items()}
        return AppliedView(revisions, observed, self.applies, 0.25 if self.applies else None)

    async def events(self, after: int | None, idle_s: float) -> AsyncIterator[list[EventView]]:
        for events in EVENTS:
            if not events or events[0].id > (after or 0):
                yield events

    async def steps(self, names: Sequence[str], idle_s: float) -> AsyncIterator[list[StepView]]:
        self.asked.append(list(names))
        iteration = {"requests": 3, "new_tokens": 3, "context_sum": 900, "context_most": 400, "graph": True}
        yield [StepView(number=7, phase="decode", **iteration, vnpu="a", pid=42, ended=6, at_s=12.5)]
        yield []
