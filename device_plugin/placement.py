# SPDX-License-Identifier: Apache-2.0
"""Which of the free units a container should get: on one device where they fit one, else evenly on devices that are
joined, by HCCS in a ring. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Literal

from device_plugin.units import Unit

Policy = Literal["pack", "spread"]
_MOST_TRIES = 4096  # of combinations of devices, of which 16 have no more than 12,870 of one size


@dataclass(frozen=True, slots=True)
class Wish:
    """size: of all. must: that are among them. hint: the device that the container has other units on. fits: devices
    that have the rest of what it may want; None: all. apart: on as many devices as can be, not as few."""

    size: int
    must: frozenset[Unit] = frozenset()
    hint: int | None = None
    fits: Collection[int] | None = None
    apart: bool = False


def prefer(
    available: Collection[Unit], wish: Wish, policy: Policy, rings: Sequence[Collection[int]] = ()
) -> list[Unit]:
    """As many as are wished for, or all there are."""
    by_device: dict[int, list[Unit]] = {}
    for unit in sorted(set(available) | wish.must):
        by_device.setdefault(unit.device, []).append(unit)
    devices = _devices(by_device, wish, policy, rings)
    share = wish.size // len(devices) if devices else wish.size
    chosen = set(wish.must)
    for device in devices:
        own = sum(unit.device == device for unit in chosen)
        free = [unit for unit in by_device[device] if unit not in chosen]
        chosen.update(free[: max(0, share - own)])
    ranked = _ranked(by_device, wish, policy)
    rest = [unit for device in ranked for unit in by_device[device] if unit not in chosen]
    chosen.update(islice(rest, max(0, wish.size - len(chosen))))
    return sorted(chosen)


def _devices(
    by_device: Mapping[int, list[Unit]], wish: Wish, policy: Policy, rings: Sequence[Collection[int]]
) -> tuple[int, ...]:
    """The fewest that have room, or the most, equally much on each."""
    musts = {unit.device for unit in wish.must}
    ranked = _ranked(by_device, wish, policy)
    counts = range(max(1, len(musts)), min(wish.size, len(ranked)) + 1)
    for count in reversed(counts) if wish.apart else counts:
        if wish.size % count:
            continue
        share = wish.size // count
        roomy = [device for device in ranked if len(by_device[device]) >= share]
        found = _joined(roomy, count, musts, rings)
        if found:
            return found
    return ()


def _joined(
    ranked: Sequence[int], count: int, musts: set[int], rings: Sequence[Collection[int]]
) -> tuple[int, ...] | None:
    """The first of so many that holds the musts, all in one ring before those that are not."""
    first = None
    for tries, some in enumerate(combinations(ranked, count)):
        if tries > _MOST_TRIES:
            break
        if not musts <= set(some):
            continue
        if count == 1 or not rings or any(set(some) <= set(ring) for ring in rings):
            return some
        first = first or some
    return first


def _ranked(by_device: Mapping[int, list[Unit]], wish: Wish, policy: Policy) -> list[int]:
    """The best first: where the container is already, then where the rest of it fits too, then by the policy."""
    sign = 1 if policy == "pack" else -1
    return sorted(
        by_device,
        key=lambda device: (
            device != wish.hint,
            wish.fits is not None and device not in wish.fits,
            sign * len(by_device[device]),
            device,
        ),
    )
