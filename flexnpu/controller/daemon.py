# SPDX-License-Identifier: Apache-2.0
"""The daemon as the loop's Cores: what some vNPUs may have together on each device, and one transaction per move."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from flexnpu.client import Client, Device, VNpu
from flexnpu.controller.decision import Applied, Grant
from flexnpu.controller.seam import CoresError, DeviceView

# Operators take milliseconds. A move that is not applied by then waits for a hung engine, and the loop must go on.
APPLY_WITHIN = 0.5


class DaemonCores:
    """These vNPUs, wherever they are."""

    def __init__(self, client: Client, vnpus: Sequence[str]) -> None:
        self._client, self._names = client, tuple(vnpus)
        self._where: dict[str, tuple[int, ...]] = {}  # those that have been there

    @classmethod
    def connect(cls, vnpus: Sequence[str], runtime_dir: Path | None = None) -> DaemonCores:
        """Through the admin socket of the daemon at hand."""
        return cls(Client(runtime_dir), vnpus)

    def look(self) -> list[DeviceView]:
        there = self._client.vnpus()
        known = {each.name: each for each in there}
        for name in self._names:
            if name in known:
                self._where[name] = tuple(known[name].devices or [known[name].device])
            elif name not in self._where:
                names = ", ".join(known) or "none"
                raise CoresError(
                    f"vNPU {name!r} does not exist; there are {names}; start it with flexnpu run --name {name}"
                )
        devices = {each.index: each for each in self._client.devices()}
        return [self._view(where, there, devices) for where in sorted(set(self._where.values()))]

    def move(self, grants: Mapping[str, Grant]) -> Applied:
        began = time.monotonic()
        answer = self._client.rebalance([_move(name, grant) for name, grant in grants.items()], wait=APPLY_WITHIN)
        return Applied(answer.applied, time.monotonic() - began, dict(answer.revisions))

    def _view(self, where: tuple[int, ...], there: Sequence[VNpu], devices: Mapping[int, Device]) -> DeviceView:
        ours = {each.name: each for each in there if each.name in self._names and self._where[each.name] == where}
        others = [each for each in there if each.name not in ours]
        for other in others:
            on = set(other.devices or [other.device])
            if other.name in self._names and (both := on & set(where)):
                raise CoresError(
                    f"vNPU {other.name!r} is on device {min(both)} and not on all that {next(iter(ours), '')!r} is on; "
                    "cores move only between vNPUs of the same devices"
                )
        first = devices[where[0]]
        return DeviceView(
            devices=where,
            soc=first.soc,
            cores=min(devices[index].cores - _taken(others, index) for index in where),
            scale=first.scale or 1.0,  # a real device has no scale: its seconds are everybody's
            grants={name: Grant(each.cores, each.share_percent) for name, each in ours.items()},
            pending=frozenset(name for name, each in ours.items() if not each.applied),
        )


def _taken(others: Sequence[VNpu], device: int) -> int:
    """Cores that are guaranteed to others: those who take turns have theirs one after another."""
    here = [each for each in others if device in (each.devices or [each.device])]
    shared = max((each.cores for each in here if each.share_percent is not None), default=0)
    return sum(each.cores for each in here if each.share_percent is None) + shared


def _move(name: str, grant: Grant) -> dict[str, object]:
    return {"vnpu": name, "cores": grant.cores}
