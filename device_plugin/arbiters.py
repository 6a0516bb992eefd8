# SPDX-License-Identifier: Apache-2.0
"""Whether devices give cores to who is new on them. One that does not, because its arbiter is stuck or because others
do not let go of theirs, can start nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from flexnpu.client import VNpu

STUCK_AFTER_S = 20.0


class Arbiters:
    """clock: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waits: dict[int, float] = {}  # by a vNPU's id, since when

    def stuck(self, vnpus: Mapping[str, VNpu]) -> dict[int, str]:
        """By device, what is wrong."""
        now = self._clock()
        waiting = [vnpu for vnpu in vnpus.values() if vnpu.granted_revision == 0]
        self._waits = {vnpu.id: self._waits.get(vnpu.id, now) for vnpu in waiting}
        return {
            device: f"device {device} has given {vnpu.name} no cores for {STUCK_AFTER_S:g} s"
            for vnpu in waiting
            if now - self._waits[vnpu.id] >= STUCK_AFTER_S
            for device in vnpu.devices
        }
