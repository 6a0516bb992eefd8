# SPDX-License-Identifier: Apache-2.0
"""Who may have how much: what is guaranteed of a device never exceeds it.

vNPUs that share a device's time take turns, so they have the same cores one after another: the largest of them counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    def of(cls, vnpus: Iterable[VNpu], device: int) -> Usage:
        here = [vnpu.quota for vnpu in vnpus if device in vnpu.devices]
        return cls(
            full_cores=sum(quota.cores for quota in here if quota.share is None),
            shared_cores=max((quota.cores for quota in here if quota.share is not None), default=0),
            share=sum(quota.share or 0 for quota in here),
            memory_bytes=sum(quota.memory_bytes for quota in here),
        )

    @property
    def cores(self) -> int:
        return self.full_cores + self.shared_cores


def admit(capacity: Capacity, vnpus: Iterable[VNpu], changed: Iterable[VNpu]) -> None:
    """OverQuota unless `vnpus` with `changed` in place of those of the same id fit the device."""
    changed = [vnpu for vnpu in changed if capacity.device in vnpu.devices]
    ids = {vnpu.id for vnpu in changed}
    others = [vnpu for vnpu in vnpus if vnpu.id not in ids]
    for vnpu in changed:
        _fits_alone(capacity, vnpu)
    _cores_fit(capacity, others, changed)
    _shares_fit(capacity, others, changed)
    _memory_fits(capacity, others, changed)


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


def _cores_fit(capacity: Capacity, others: Sequence[VNpu], changed: Sequence[VNpu]) -> None:
    used, asked = Usage.of(others, capacity.device), Usage.of(changed, capacity.device)
    if asked.full_cores + used.full_cores + max(asked.shared_cores, used.shared_cores) <= capacity.cores:
        return
    # To those who take turns, cores of others who take turns are no obstacle.
    obstacle = used.cores if asked.full_cores else used.full_cores
    free = max(0, capacity.cores - obstacle)
    raise OverQuota(
        f"{asked.cores} cores for {_names(changed)} do not fit device {capacity.device}: {obstacle} of "
        f"{capacity.cores} cores are guaranteed to others",
        next_step=_next_step(free, f"ask for at most {free} cores"),
        limit=capacity.cores,
        used=obstacle,
        requested=asked.cores,
    )


def _shares_fit(capacity: Capacity, others: Sequence[VNpu], changed: Sequence[VNpu]) -> None:
    used, asked = Usage.of(others, capacity.device).share, Usage.of(changed, capacity.device).share
    if used + asked <= WHOLE_SHARE:
        return
    free = max(0, WHOLE_SHARE - used)
    raise OverQuota(
        f"a share of {asked / 100:g}% for {_names(changed)} does not fit device {capacity.device}: {used / 100:g}% of "
        "its time is guaranteed to others",
        next_step=_next_step(free, f"ask for at most {free / 100:g}%"),
        limit=100,
        used=round(used / 100),
        requested=round(asked / 100),
    )


def _memory_fits(capacity: Capacity, others: Sequence[VNpu], changed: Sequence[VNpu]) -> None:
    used, asked = Usage.of(others, capacity.device).memory_bytes, Usage.of(changed, capacity.device).memory_bytes
    if used + asked <= capacity.memory_bytes:
        return
    free = max(0, capacity.memory_bytes - used)
    raise OverQuota(
        f"{format_size(asked)} of memory for {_names(changed)} do not fit device {capacity.device}: "
        f"{format_size(used)} of {format_size(capacity.memory_bytes)} are guaranteed to others",
        next_step=_next_step(free, f"ask for at most {format_size(free)}"),
        limit=capacity.memory_bytes,
        used=used,
        requested=asked,
    )


def _names(vnpus: Sequence[VNpu]) -> str:
    return ", ".join(vnpu.name for vnpu in vnpus)


def _next_step(free: int, ask_less: str) -> str:
    return f"{ask_less}, or free some (flexnpu ps)" if free else "free some first (flexnpu ps, flexnpu delete)"
