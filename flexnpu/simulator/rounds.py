# SPDX-License-Identifier: Apache-2.0
"""Two lanes on parted cores that join: k decode steps run ahead beside one prefill iteration (DuetServe).

The k steps are launched as graphs without looking at what they yield, so their KV blocks are taken beforehand, and a
request that has its last token in one of them is noticed when the lanes join: it keeps its blocks and its place until
then. A token counts from when its iteration ended on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.planner import Plan
from flexnpu.simulator.prompts import NOTHING, Chunks
from flexnpu.simulator.runner import INFINITE

if TYPE_CHECKING:
    from flexnpu.simulator.device import Device


class Rounds:
    """One round at a time; arrivals wait for its end."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.next_seconds = INFINITE
        self._chunks: Chunks = NOTHING
        self._ends: Floats = np.empty(0)  # of decode's steps
        self._prompt_end = 0.0
        self._cores = (0, 0)

    def begin(self, now: float, plan: Plan) -> None:
        device, decoding = self.device, self.device.decoding
        now += device.planning.switch_wait(plan)
        short = decoding.sequences > 0 and device.secure(now)
        count = 0
        if decoding.sequences:
            count = max(1, decoding.affordable(device.kv.free, plan.steps))
            device.kv.grow(decoding.blocks(count))
        self._chunks = device.chunks(plan.budget, admit=not short)
        running = bool(self._chunks.parts)
        self._cores = (plan.split.prefill * running, plan.split.decode * bool(count))
        if not count and not running:
            self.next_seconds = INFINITE
            return
        self._time(now, count)
        over = max(self._prompt_end, self._ends.item(-1) if count else 0.0)
        self.next_seconds = over + device.config.launch_seconds

    def _time(self, now: float, count: int) -> None:
        """Ends of both lanes: beside each other first, then whichever is left alone."""
        device, config, forecaster = self.device, self.device.config, self.device.forecaster
        prefill_cores, decode_cores = self._cores
        prompts = self._chunks.load
        decodes = device.decoding.load
        steps: Floats = device.decode_steps(decode_cores, count) if count else np.empty(0)
        floor = device.decode_floor(decode_cores)
        if not self._chunks.parts:
            self._prompt_end = now
            self._ends = now + np.maximum(steps, floor).cumsum()
            return
        # The host launches the graphs first, then the prompt's kernels, which the device works off meanwhile.
        begins = now + count * config.graph_seconds
        if not count:
            self._prompt_end = begins + max(forecaster.seconds(prefill_cores, prompts), config.dispatch_seconds)
            self._ends = steps
            return
        contended = forecaster.beside(prefill_cores, prompts, decode_cores, decodes)
        slower = contended[1] / steps.item(0)
        ends = now + np.maximum(steps * slower, floor).cumsum()
        prompt_end, last = begins + contended[0], ends.item(-1)
        if prompt_end < last:
            ends = np.where(ends > prompt_end, prompt_end + (ends - prompt_end) / slower, ends)
        else:
            alone = forecaster.seconds(prefill_cores, prompts)
            prompt_end = last + (prompt_end - last) * alone / contended[0]
        self._ends = ends
        self._prompt_end = max(prompt_end, begins + config.dispatch_seconds)

    def turn(self, now: float) -> bool:
        device, decoding = self.device, self.device.decoding
        if len(self._ends):
            device.counters.steps += len(self._ends)
            decoding.advance(self._ends)
            device.decodes_ran()
        if self._chunks.parts:
            device.counters.prefills += 1
            device.prompts_ran(self._chunks, self._prompt_end)
        self.next_seconds = INFINITE
        return True

    def arrived(self, now: float) -> None:
        pass

    def owed(self, now: float) -> int:
        return 0  # all blocks are taken before the round

    def cut(self, now: float) -> None:
        pass

    def busy_cores(self) -> tuple[int, int, int]:
        return *self._cores, 0
