# SPDX-License-Identifier: Apache-2.0
"""Who may have how much: guaranteed cores and memory never exceed the device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flexnpu.errors import OverQuota
from flexnpu.tenancy.vnpu import VNpu
from flexnpu.units import format_size


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a device has to give."""

    device: int
    cores: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What is guaranteed on a device already."""

    cores: int
    memory_bytes: int

    @classmethod
    def of(cls, vnpus: Iterable[VNpu], device: int) -> Usage:
        here = [vnpu.quota for vnpu in vnpus if vnpu.device == device]
        return cls(sum(quota.cores for quota in here), sum(quota.memory_bytes for quota in here))


def admit(capacity: Capacity, vnpus: Iterable[VNpu], changed: Iterable[VNpu]) -> None:
    """OverQuota unless `vnpus` with `changed` in place of those of the same id fit the device."""
    changed = [vnpu for vnpu in changed if vnpu.device == capacity.device]
    ids = {vnpu.id for vnpu in changed}
    used = Usage.of((vnpu for vnpu in vnpus if vnpu.id not in ids), capacity.device)
    asked = Usage.of(changed, capacity.device)
    what = ", ".join(vnpu.name for vnpu in changed)
    if used.cores + asked.cores > capacity.cores:
        free = max(0, capacity.cores - used.cores)
        raise OverQuota(
            f"{asked.cores} cores for {what} do not fit device {capacity.device}: {used.cores} of {capacity.cores} "
            "cores are guaranteed to others",
            next_step=_next_step(free, f"ask for at most {free} cores"),
            limit=capacity.cores,
            used=used.cores,
            requested=asked.cores,
        )
    if used.memory_bytes + asked.memory_bytes > capacity.memory_bytes:
        free = max(0, capacity.memory_bytes - used.memory_bytes)
        raise OverQuota(
            f"{format_size(asked.memory_bytes)} of memory for {what} do not fit device {capacity.device}: "
            f"{format_size(used.memory_bytes)} of {format_size(capacity.memory_bytes)} are guaranteed to others",
            next_step=_next_step(free, f"ask for at most {format_size(free)}"),
            limit=capacity.memory_bytes,
            used=used.memory_bytes,
            requested=asked.memory_bytes,
        )


def _next_step(free: int, ask_less: str) -> str:
    return f"{ask_less}, or free some (flexnpu ps)" if free else "free some first (flexnpu ps, flexnpu delete)"
