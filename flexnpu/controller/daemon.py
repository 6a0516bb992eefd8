# SPDX-License-Identifier: Apache-2.0
"""The daemon as the loop's Cores: what some vNPUs may have together on each device, and one transaction per move."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from flexnpu.client import Client, Device, VNpu
from flexnpu.controller.decision import Applied, Grant, together
from flexnpu.controller.seam import CoresError, DeviceView

# Operators take milliseconds. A move that is not applied by then waits for a hung engine, and the loop must go on.
APPLY_WITHIN = 0.5


class DaemonCores:
    """These vNPUs, wherever they are."""

    def __init__(self, client: Client, vnpus: Sequence[str]) -> None:
        self._client, self._names = client, tuple(vnpus)
        self._places: dict[str, tuple[int, ...]] = {}  # where each was first seen

    @classmethod
    def connect(cls, vnpus: Sequence[str], runtime_dir: Path | None = None) -> DaemonCores:
        """Through the admin socket of the daemon at hand."""
        return cls(Client(runtime_dir, reason="flexnpu controller"), vnpus)

    def close(self) -> None:
        self._client.close()

    def look(self) -> list[DeviceView]:
        there = self._client.vnpus()
        known = {each.name: each for each in there}
        for name in self._names:
            if name in known:
                self._places.setdefault(name, _devices(known[name]))
            elif name not in self._places:
                names = ", ".join(known) or "none"
                raise CoresError(
                    f"vNPU {name!r} does not exist; there are {names}; start it with flexnpu run --name {name}"
                )
        self._must_be_apart()
        devices = {each.index: each for each in self._client.devices()}
        return [self._view(place, there, devices) for place in sorted(set(self._places.values()))]

    def move(self, grants: Mapping[str, Grant]) -> Applied:
        began = time.monotonic()
        answer = self._client.rebalance([_move(name, grant) for name, grant in grants.items()], wait=APPLY_WITHIN)
        return Applied(answer.applied, time.monotonic() - began, dict(answer.revisions))

    def _must_be_apart(self) -> None:
        """Places that are not the same have no device in common."""
        for one, other in itertools.combinations(sorted(set(self._places.values())), 2):
            if both := set(one) & set(other):
                names = [next(name for name, place in self._places.items() if place == each) for each in (one, other)]
                raise CoresError(
                    f"vNPUs {names[0]!r} and {names[1]!r} are both on device {min(both)}, but not both on all of "
                    f"{', '.join(map(str, sorted({*one, *other})))}; cores move only between vNPUs of the same devices"
                )

    def _view(self, place: tuple[int, ...], there: Sequence[VNpu], devices: Mapping[int, Device]) -> DeviceView:
        for index in place:
            if index not in devices:
                raise CoresError(f"device {index} is not there any more; there are {', '.join(map(str, devices))}")
        named = [each for each in there if self._places.get(each.name) == place]
        ours = {each.name: each for each in named if _devices(each) == place}
        others = [each for each in there if each.name not in ours]
        return DeviceView(
            devices=place,
            soc=devices[place[0]].soc,
            cores=min(devices[index].cores - _taken(others, index) for index in place),
            scale=devices[place[0]].scale or 1.0,  # a real device has no scale: its seconds are everybody's
            grants={name: _grant(each) for name, each in ours.items()},
            pending={name: each.revision for name, each in ours.items() if not each.applied},
            elsewhere={each.name: _devices(each) for each in named if each.name not in ours},
        )


def _grant(vnpu: VNpu) -> Grant:
    if vnpu.share_percent is None:
        return Grant(vnpu.cores)
    return Grant(vnpu.cores, vnpu.share_percent, vnpu.priority)


def _devices(vnpu: VNpu) -> tuple[int, ...]:
    return tuple(vnpu.devices or [vnpu.device])


def _taken(others: Sequence[VNpu], device: int) -> int:
    """Cores that are guaranteed to others."""
    return together(_grant(each) for each in others if device in _devices(each))


def _move(name: str, grant: Grant) -> dict[str, object]:
    move = {"vnpu": name, "cores": grant.cores, "share_percent": grant.share}
    return move if grant.share is None else move | {"priority": grant.priority}
