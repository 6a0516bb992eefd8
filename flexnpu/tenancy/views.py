# SPDX-License-Identifier: Apache-2.0
"""What the daemon tells about itself: the registry's word beside what is granted, applied and used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device and what is left of it. cores_free and memory_free: not guaranteed to any vNPU. trouble: why no program
    can use it, in a line. numa_node: None where that is not known."""

    index: int
    soc: str
    kind: str
    cores: int
    memory_bytes: int
    cores_free: int
    memory_free: int
    memory_used: int | None
    clock: str | None
    math: str | None
    scale: float | None
    environment: Mapping[str, str]
    uuid: str = ""
    numa_node: int | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class UseView:
    """A vNPU on one of its devices. used_s: device time; memory: of all its tenants together."""

    device: int
    granted_cores: int
    lent_cores: int
    held_cores: int
    used_s: float
    turns: int
    memory_used: int
    memory_peak: int


@dataclass(frozen=True, slots=True)
class VNpuView:
    """A vNPU between wanted (cores, revision), granted and applied. id: never used twice in a registry. device: the
    first of its devices.

    granted_*, applied_*: of the device that is least far; lent_cores: the most on one device; effective_share_percent:
    the least on one device.
    """

    id: int
    name: str
    device: int
    devices: Sequence[int]
    cores: int
    burst_cores: int
    vector_cores: int | None
    memory_bytes: int
    share_percent: float | None
    effective_share_percent: float | None
    fixed_share: bool
    priority: int
    revision: int
    phase: str | None
    owner_pid: int | None
    granted_cores: int
    granted_revision: int
    applied_revision: int
    applied: bool
    lent_cores: int
    tenants: int
    use: Sequence[UseView]
    labels: Mapping[str, str] = field(default_factory=dict)
    attach_dirs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class GraphView:
    """A captured graph; cube and vector cores at its capture."""

    device: int
    cores: int
    vector_cores: int
    replays: int


@dataclass(frozen=True, slots=True)
class IterationView:
    """A serving engine's last step as its operators tell it; number: steps so far."""

    number: int
    phase: str
    requests: int
    new_tokens: int
    context_sum: int
    context_most: int
    graph: bool


@dataclass(frozen=True, slots=True)
class TenantView:
    """A process on a vNPU. The numbers are its own word, summed over its devices. present: attached to this daemon.

    applied: it uses no grant older than the newest, on any device; applied_revision: the newest that it uses on all.
    """

    pid: int
    vnpu: str
    devices: Sequence[int]
    present: bool
    applied: bool
    applied_revision: int
    memory_used: int
    memory_denied: int
    waited_s: float
    busy_s: float
    tiled: int
    launched: int
    ungoverned: int
    launches: Mapping[str, int]
    graphs: Sequence[GraphView]
    iteration: IterationView | None


@dataclass(frozen=True, slots=True)
class StepView(IterationView):
    """A step of a serving engine, when its first operators are launched; what is known of it then.

    number: of those that began; ended: how many are over, which some engines let see late. at_s: CLOCK_MONOTONIC.
    """

    vnpu: str
    pid: int
    ended: int
    at_s: float


@dataclass(frozen=True, slots=True)
class AppliedView:
    """Where a change stands. observed: the newest revisions that are in force in all tenants. applied_after_s: from the
    change to its being applied by every tenant."""

    revisions: Mapping[str, int]
    observed: Mapping[str, int]
    applied: bool
    applied_after_s: float | None


@dataclass(frozen=True, slots=True)
class EventView:
    """Something that happened. kind: of a vNPU created, changed, applied, lent or deleted; of a process attached, left,
    denied (memory) or refused; decided by a controller; resync: what a reader has missed is not known any more.

    id: rises with each event, and is never used twice. at: seconds since 1970. revision: of the vNPU's quota. text: one
    line for a person.
    """

    id: int
    at: float
    kind: str
    vnpu: str
    pid: int | None
    revision: int | None
    text: str
