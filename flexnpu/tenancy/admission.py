# SPDX-License-Identifier: Apache-2.0
"""Who may have how much: what is guaranteed of a device never exceeds it.

vNPUs that share a device's time take turns, so they have the same cores one after another: the largest of them counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flexnpu.errors import OverQuota
from flexnpu.tenancy.vnpu import WHOLE_SHARE, VNpu
from flexnpu.units import format_size


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a device has to give."""

    device: int
    cores: int
    memory_bytes: int
    vector_cores: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What is guaranteed on a device already: to those who have their cores all the time, and to those who share it."""

    full_cores: int
    shared_cores: int
    share: int
    memory_bytes: int

    @classmethod
    def of(cls, vnpus: Iterable[VNpu]) -> Usage:
        """vnpus: all that are on it."""
        full = shared = share = memory = 0
        for vnpu in vnpus:
            quota = vnpu.quota
            memory += quota.memory_bytes
            if quota.share is None:
                full += quota.cores
            else:
                share += quota.share
                shared = max(shared, quota.cores)
        return cls(full, shared, share, memory)

    @property
    def cores(self) -> int:
        return self.full_cores + self.shared_cores


def admit(capacity: Capacity, vnpus: Iterable[VNpu], changed: Iterable[VNpu]) -> None:
    """OverQuota unless `vnpus` with `changed` in place of those of the same id fit the device."""
    changed = [vnpu for vnpu in changed if capacity.device in vnpu.devices]
    ids = {vnpu.id for vnpu in changed}
    for vnpu in changed:
        _fits_alone(capacity, vnpu)
    others = [vnpu for vnpu in vnpus if vnpu.id not in ids and capacity.device in vnpu.devices]
    used, asked = Usage.of(others), Usage.of(changed)
    names = ", ".join(vnpu.name for vnpu in changed)
    _cores_fit(capacity, used, asked, names)
    _shares_fit(capacity, used, asked, names)
    _memory_fits(capacity, used, asked, names)


def _fits_alone(capacity: Capacity, vnpu: VNpu) -> None:
    quota = vnpu.quota
    for what, asked, limit in (
        ("burst cores", quota.burst_cores, capacity.cores),
        ("vector cores", quota.vector_cores, capacity.vector_cores),
    ):
        if asked is not None and asked > limit:
            raise OverQuota(
                f"{asked} {what} for {vnpu.name} do not fit device {capacity.device}, which has {limit}",
                next_step=f"ask for at most {limit}",
                limit=limit,
                used=0,
                requested=asked,
            )


def _cores_fit(capacity: Capacity, used: Usage, asked: Usage, names: str) -> None:
    if asked.full_cores + used.full_cores + max(asked.shared_cores, used.shared_cores) <= capacity.cores:
        return
    # To those who take turns, cores of others who take turns are no obstacle.
    obstacle = used.cores if asked.full_cores else used.full_cores
    free = max(0, capacity.cores - obstacle)
    raise OverQuota(
        f"{asked.cores} cores for {names} do not fit device {capacity.device}: {obstacle} of "
        f"{capacity.cores} cores are guaranteed to others",
        next_step=_next_step(free, f"ask for at most {free} cores"),
        limit=capacity.cores,
        used=obstacle,
        requested=asked.cores,
    )


def _shares_fit(capacity: Capacity, used: Usage, asked: Usage, names: str) -> None:
    if used.share + asked.share <= WHOLE_SHARE:
        return
    free = max(0, WHOLE_SHARE - used.share)
    raise OverQuota(
        f"a share of {asked.share / 100:g}% for {names} does not fit device {capacity.device}: "
        f"{used.share / 100:g}% of its time is guaranteed to others",
        next_step=_next_step(free, f"ask for at most {free / 100:g}%"),
        limit=100,
        used=round(used.share / 100),
        requested=round(asked.share / 100),
    )


def _memory_fits(capacity: Capacity, used: Usage, asked: Usage, names: str) -> None:
    if used.memory_bytes + asked.memory_bytes <= capacity.memory_bytes:
        return
    free = max(0, capacity.memory_bytes - used.memory_bytes)
    raise OverQuota(
        f"{format_size(asked.memory_bytes)} of memory for {names} do not fit device {capacity.device}: "
        f"{format_size(used.memory_bytes)} of {format_size(capacity.memory_bytes)} are guaranteed to others",
        next_step=_next_step(free, f"ask for at most {format_size(free)}"),
        limit=capacity.memory_bytes,
        used=used.memory_bytes,
        requested=asked.memory_bytes,
    )


def _next_step(free: int, ask_less: str) -> str:
    return f"{ask_less}, or free some (flexnpu ps)" if free else "free some first (flexnpu ps, flexnpu delete)"
