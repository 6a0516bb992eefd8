# SPDX-License-Identifier: Apache-2.0
"""The whole device as one lane: iterations that mix decode and chunks of prompts.

Many are taken at once where they are alike: decode alone, up to its next finish or shortage of blocks; and chunks of
one prompt that each fill the budget, for as long as the plan may hold. An arrival that can change anything cuts them at
the end of the iteration under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load
from flexnpu.planner import Plan
from flexnpu.simulator.planning import ALIKE
from flexnpu.simulator.prompts import NOTHING, Chunks
from flexnpu.simulator.runner import INFINITE

if TYPE_CHECKING:
    from flexnpu.simulator.device import Device

_NONE: Floats = np.empty(0)
_PLACES: Floats = np.arange(float(ALIKE))


class Mixed:
    """Iterations that end at `_ends`, each with the same chunks (of the one prompt, one after the other)."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.next_seconds = INFINITE
        self._chunks: Chunks = NOTHING
        self._ends: Floats = _NONE
        self._cores = 0
        self._taken = 0  # decode's blocks that are taken already

    def begin(self, now: float, plan: Plan) -> None:
        device, decoding = self.device, self.device.decoding
        self._cores = plan.split.decode
        now += device.planning.switch_wait(plan)
        short = decoding.sequences > 0 and device.secure(now)
        self._taken = decoding.blocks(1)  # before chunks may have what is left
        device.kv.grow(self._taken)
        self._chunks = device.chunks(plan.budget - decoding.sequences, admit=not short)
        if self._chunks.parts:
            self._ends = self._mixed(now, plan)
        elif decoding.sequences:
            self._ends = self._steps(now)
        else:
            self.next_seconds = INFINITE
            return
        self.next_seconds = self._ends.item(-1)

    def _mixed(self, now: float, plan: Plan) -> Floats:
        config = self.device.config
        first = self._seconds(0)
        count = self._alike(now, plan, first)
        if count == 1:
            return np.array([now + max(first, config.dispatch_seconds) + config.launch_seconds])
        # Both contexts grow evenly, and the time with them: between first and last it is taken as a straight line.
        last = self._seconds(count - 1)
        seconds = _PLACES[:count] * ((last - first) / (count - 1))
        seconds += first
        seconds[-1] = last
        return _ends(now, seconds, config.dispatch_seconds, config.launch_seconds)

    def _seconds(self, later: int) -> float:
        """Of the iteration that is so many after the next."""
        decoding, load = self.device.decoding, self._chunks.load
        grown, sequences = later * load.prefill_tokens, float(decoding.sequences)
        return self.device.forecaster.seconds(
            self._cores,
            Load(
                load.prefill_tokens,
                load.prefill_sequences,
                load.prefill_pairs + grown * load.prefill_tokens,
                load.prefill_seen + grown,
                sequences,
                decoding.seen + later * sequences,
                load.logits + sequences,
            ),
        )

    def _alike(self, now: float, plan: Plan, seconds: float) -> int:
        """How many iterations are the same but for their contexts."""
        device, decoding, parts = self.device, self.device.decoding, self._chunks.parts
        request, new = parts[0]
        if len(parts) > 1 or new < plan.budget - decoding.sequences:
            return 1
        count = min((request.target - request.computed) // new, device.planning.patience(now, seconds))
        if count > 1 and decoding.sequences:
            count = decoding.affordable(device.kv.free + self._taken, min(count, decoding.until_finish()))
        return count

    def _steps(self, now: float) -> Floats:
        device, decoding, config = self.device, self.device.decoding, self.device.config
        # A policy that holds prompts back is asked again after each step.
        alone = not device.prompted and not device.joins
        count = decoding.affordable(device.kv.free + self._taken, decoding.until_finish()) if alone else 1
        seconds = device.decode_steps(self._cores, count)
        return _ends(now, seconds, device.decode_floor(self._cores), config.launch_seconds)

    def turn(self, now: float) -> bool:
        device, decoding, count = self.device, self.device.decoding, len(self._ends)
        if decoding.sequences:
            device.counters.steps += count
            device.kv.grow(decoding.blocks(count) - self._taken)
            decoding.advance(self._ends)
            device.decodes_ran()
        if self._chunks.parts:
            device.counters.mixed += count
            device.prompts_ran(self._chunks.times(count), now)
        self.next_seconds = INFINITE
        return True

    def arrived(self, now: float) -> None:
        device = self.device
        if len(self._ends) == 1:
            return
        if not device.joins:
            if len(device.admitted) >= device.config.max_running:
                return
            # Beside a prompt that fills the budget, and behind others in the queue, who arrives changes nothing.
            if (self._chunks.parts or len(device.prompts.waiting) > 1) and not device.planning.minds_arrivals:
                return
        self._cut(now)

    def _cut(self, now: float) -> None:
        self._ends = self._ends[: self._begun(now)]
        self.next_seconds = self._ends.item(-1)

    def _begun(self, now: float) -> int:
        """Iterations that have begun; one that ends at this very moment is the last of them."""
        return int(self._ends.searchsorted(now)) + 1

    def owed(self, now: float) -> int:
        return self.device.decoding.blocks(self._begun(now)) - self._taken

    def cut(self, now: float) -> None:
        owed = self.owed(now)
        self.device.kv.grow(owed)
        self._taken += owed
        self._cut(now)

    def busy_cores(self) -> tuple[int, int, int]:
        if not self._chunks.parts:
            return 0, self._cores, 0
        return (0, 0, self._cores) if self.device.decoding.sequences else (self._cores, 0, 0)


def _ends(now: float, seconds: Floats, least: float, launch: float) -> Floats:
    """Of iterations one after another; `seconds` is used up."""
    np.maximum(seconds, least, out=seconds)
    seconds += launch
    ends = seconds.cumsum()
    ends += now
    return ends
