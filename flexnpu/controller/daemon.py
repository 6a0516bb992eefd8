# SPDX-License-Identifier: Apache-2.0
"""The daemon as the loop's Cores: what the two vNPUs may have together, and one transaction per move."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from flexnpu.client import Client
from flexnpu.controller.decision import Applied
from flexnpu.controller.seam import CoresError, DeviceView
from flexnpu.planner import Split

# Operators take milliseconds. A move that is not applied by then waits for a hung engine, and the loop must go on.
APPLY_WITHIN = 0.5


@dataclass(frozen=True, slots=True)
class DaemonCores:
    """Two vNPUs of one device."""

    client: Client
    prefill: str
    decode: str

    @classmethod
    def connect(cls, prefill: str, decode: str, runtime_dir: Path | None = None) -> DaemonCores:
        """Through the admin socket of the daemon at hand."""
        return cls(Client(runtime_dir), prefill, decode)

    def look(self) -> DeviceView:
        vnpus = {each.name: each for each in self.client.vnpus()}
        devices = {each.index: each for each in self.client.devices()}
        for name in (self.prefill, self.decode):
            if name not in vnpus:
                there = ", ".join(vnpus) or "none"
                raise CoresError(
                    f"vNPU {name!r} does not exist; there are {there}; start it with flexnpu run --name {name}"
                )
        prefill, decode = vnpus[self.prefill], vnpus[self.decode]
        if prefill.device != decode.device:
            raise CoresError(
                f"vNPU {self.prefill!r} is on device {prefill.device} and {self.decode!r} on device {decode.device}; "
                "cores move only within one device, start both on the same"
            )
        device = devices[prefill.device]
        # A real device has no scale: its seconds are everybody's.
        total = prefill.cores + decode.cores + device.cores_free
        return DeviceView(device.soc, total, device.scale or 1.0, Split(prefill.cores, decode.cores), device.index)

    def move(self, split: Split) -> Applied:
        began = time.monotonic()
        moves = [{"vnpu": self.prefill, "cores": split.prefill}, {"vnpu": self.decode, "cores": split.decode}]
        answer = self.client.rebalance(moves, wait=APPLY_WITHIN)
        return Applied(answer.applied, time.monotonic() - began, dict(answer.revisions))
