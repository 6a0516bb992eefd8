# SPDX-License-Identifier: Apache-2.0
"""What the daemon tells about itself: the registry's word beside what is granted, applied and used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device and what is left of it. cores_free and memory_free: not guaranteed to any vNPU."""

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


@dataclass(frozen=True, slots=True)
class VNpuView:
    """A vNPU between wanted (cores, revision), granted and applied."""

    name: str
    device: int
    cores: int
    memory_bytes: int
    revision: int
    phase: str | None
    owner_pid: int | None
    granted_cores: int
    granted_revision: int
    applied_revision: int
    applied: bool
    tenants: int


@dataclass(frozen=True, slots=True)
class TenantView:
    """A process on a vNPU. The numbers are its own word. present: attached to this daemon."""

    pid: int
    vnpu: str
    device: int
    present: bool
    seen_revision: int
    applied_revision: int
    memory_used: int
    memory_peak: int
    memory_denied: int
    tiled: int
    launched: int
    ungoverned: int
    launches: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AppliedView:
    """Where a change stands; applied_after_s from the change to its being applied by every tenant."""

    revisions: Mapping[str, int]
    applied: bool
    applied_after_s: float | None
