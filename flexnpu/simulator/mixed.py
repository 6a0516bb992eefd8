# SPDX-License-Identifier: Apache-2.0
"""The whole device as one lane: iterations that mix decode and chunks of prompts, and runs of decode steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load
from flexnpu.planner import Plan
from flexnpu.simulator.prompts import NOTHING, Chunks
from flexnpu.simulator.runner import INFINITE

if TYPE_CHECKING:
    from flexnpu.simulator.device import Device


class Mixed:
    """Either one iteration with chunks in it, or `_ends`, decode steps that nothing interrupts but an arrival."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.next_seconds = INFINITE
        self._chunks: Chunks = NOTHING
        self._ends: Floats | None = None
        self._cores = 0
        self._taken = 0  # blocks for the first step

    def begin(self, now: float, plan: Plan) -> None:
        device, decoding = self.device, self.device.decoding
        self._cores = plan.split.decode
        now += device.planning.switch_wait(plan)
        short = decoding.sequences > 0 and device.secure(now)
        self._taken = decoding.blocks(1)  # before chunks may have what is left
        device.kv.grow(self._taken)
        self._chunks = device.chunks(plan.budget - decoding.sequences, admit=not short)
        self._ends = None
        if self._chunks.parts:
            self.next_seconds = now + self._mixed_seconds()
        elif decoding.sequences:
            self._ends = self._steps(now)
            self.next_seconds = float(self._ends[-1])
        else:
            self.next_seconds = INFINITE

    def _mixed_seconds(self) -> float:
        device, config, load = self.device, self.device.config, self._chunks.load
        decoding = device.decoding
        both = Load(*load[:4], decoding.sequences, decoding.seen, load.logits + decoding.sequences)
        seconds = device.forecaster.seconds(self._cores, both)
        return max(seconds, config.dispatch_seconds) + config.launch_seconds

    def _steps(self, now: float) -> Floats:
        device, decoding, config = self.device, self.device.decoding, self.device.config
        held_back = device.prompted
        # A policy that holds prompts back is asked again after each step.
        count = 1 if held_back else decoding.affordable(device.kv.free + self._taken, decoding.until_finish())
        load = Load.decode(decoding.sequences, decoding.seen)
        seconds = device.forecaster.steps(self._cores, load, count)
        return now + np.cumsum(np.maximum(seconds, device.decode_floor(self._cores)) + config.launch_seconds)

    def turn(self, now: float) -> bool:
        device, decoding = self.device, self.device.decoding
        if self._ends is not None:
            device.counters.steps += len(self._ends)
            device.kv.grow(decoding.blocks(len(self._ends)) - self._taken)
            decoding.advance(self._ends)
            device.decodes_ran()
        else:
            device.counters.mixed += 1
            if decoding.sequences:
                device.counters.steps += 1
                decoding.advance_one(now)
                device.decodes_ran()
            device.prompts_ran(self._chunks, now)
        self.next_seconds = INFINITE
        return True

    def arrived(self, now: float) -> None:
        device = self.device
        if self._ends is None or len(device.admitted) >= device.config.max_running:
            return
        if device.joining or len(device.prompts.waiting) == 1 or device.planning.orders:
            self._ends = self._ends[: self._begun(now)]
            self.next_seconds = float(self._ends[-1])

    def _begun(self, now: float) -> int:
        """Steps that have begun; one that ends at this very moment is the last of them."""
        assert self._ends is not None
        return int(self._ends.searchsorted(now)) + 1

    def owed(self, now: float) -> int:
        if self._ends is None:
            return 0
        return self.device.decoding.blocks(self._begun(now)) - self._taken

    def cut(self, now: float) -> None:
        if self._ends is not None:
            owed = self.owed(now)
            self.device.kv.grow(owed)
            self._taken += owed
            self._ends = self._ends[: self._begun(now)]
            self.next_seconds = float(self._ends[-1])

    def busy_cores(self) -> tuple[int, int, int]:
        if self._ends is not None:
            return 0, self._cores, 0
        return (0, 0, self._cores) if self.device.decoding.sequences else (self._cores, 0, 0)
