# SPDX-License-Identifier: Apache-2.0
"""The daemon as the loop's Cores: what the two vNPUs may have together, and one transaction per move.

Reads the fields of the admin API by name, whether the client gives mappings or objects.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from flexnpu.client import Client
from flexnpu.controller.decision import Applied
from flexnpu.controller.seam import CoresError, DeviceView
from flexnpu.errors import FlexNpuError
from flexnpu.planner import Split

# Operators take milliseconds. A move that is not applied by then waits for a hung engine, and the loop must go on.
APPLY_WITHIN = 0.5
_REFUSALS = (OSError, httpx.HTTPError, FlexNpuError)


class DaemonClient(Protocol):
    """The part of flexnpu.client.Client that is used here."""

    def devices(self) -> Sequence[object]:
        """index, soc, cores_free, scale of each device."""

    def vnpus(self) -> Sequence[object]:
        """name, device, cores of each vNPU."""

    def rebalance(self, moves: Sequence[Mapping[str, object]], *, wait: float) -> object:
        """vnpu and cores of each; all or nothing; shrinks first. Answers revision and applied."""


@dataclass(frozen=True, slots=True)
class DaemonCores:
    """Two vNPUs of one device."""

    client: DaemonClient
    prefill: str
    decode: str

    @classmethod
    def connect(cls, prefill: str, decode: str, runtime_dir: Path | None = None) -> DaemonCores:
        """Through the admin socket of the daemon at hand."""
        return cls(Client(runtime_dir), prefill, decode)

    def look(self) -> DeviceView:
        try:
            vnpus, devices = self.client.vnpus(), self.client.devices()
        except _REFUSALS as error:
            raise CoresError(str(error)) from error
        prefill, decode = (self._named(vnpus, name) for name in (self.prefill, self.decode))
        index = _field(prefill, "device")
        if _field(decode, "device") != index:
            raise CoresError(
                f"vNPU {self.prefill!r} is on device {index} and {self.decode!r} on device {_field(decode, 'device')}; "
                "cores move only within one device, start both on the same"
            )
        device = next((each for each in devices if _field(each, "index") == index), None)
        if device is None:
            raise CoresError(f"device {index} of vNPU {self.prefill!r} is not listed by the daemon")
        split = Split(int(str(_field(prefill, "cores"))), int(str(_field(decode, "cores"))))
        free = int(str(_field(device, "cores_free")))
        # Absent or null on a real device, whose seconds are everybody's.
        scale = float(str(_field(device, "scale", None) or 1.0))
        return DeviceView(str(_field(device, "soc")), sum(split) + free, scale, split)

    def move(self, split: Split) -> Applied:
        began = time.monotonic()
        moves = [{"vnpu": self.prefill, "cores": split.prefill}, {"vnpu": self.decode, "cores": split.decode}]
        try:
            answer = self.client.rebalance(moves, wait=APPLY_WITHIN)
        except _REFUSALS as error:
            raise CoresError(str(error)) from error
        revision = _field(answer, "revision", None)
        return Applied(
            done=bool(_field(answer, "applied")),
            wall_seconds=time.monotonic() - began,
            revision=revision if isinstance(revision, int) else None,
        )

    def _named(self, vnpus: Sequence[object], name: str) -> object:
        found = next((each for each in vnpus if _field(each, "name") == name), None)
        if found is None:
            there = ", ".join(str(_field(each, "name")) for each in vnpus) or "none"
            raise CoresError(
                f"vNPU {name!r} does not exist; there are {there}; start it with flexnpu run --name {name}"
            )
        return found


_NEEDED = object()


def _field(item: object, name: str, default: object = _NEEDED) -> object:
    value = item.get(name, default) if isinstance(item, Mapping) else getattr(item, name, default)
    if value is _NEEDED:
        raise CoresError(f"the daemon's answer has no {name}; daemon and controller are of different versions")
    return value
