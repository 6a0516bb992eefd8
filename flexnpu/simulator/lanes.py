# SPDX-License-Identifier: Apache-2.0
"""Two lanes that run freely: on parted cores, or on all cores with the time shared out by weight.

Work in flight is kept as the part of it that is left, so that it goes on at another rate when the neighbour starts,
ends or changes. Decode's steps are projected up to its next finish or shortage of blocks; what is over is booked when
an event cuts the projection, and a step that was cut goes on where it was.
"""

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

_NONE: Floats = np.empty(0)
# A part of an iteration so small that rounding made it.
_ROUNDING = 1e-9


class _Prefill:
    """The prefill lane: the iteration in flight, if any."""

    __slots__ = ("chunks", "cores", "end", "extra", "full", "left")

    def __init__(self) -> None:
        self.chunks: Chunks = NOTHING
        self.cores = 0
        self.left = 0.0  # part of the iteration
        self.full = 0.0  # seconds that all of it takes at the present rate
        self.extra = 0.0  # seconds of it that a change of cores costs
        self.end = INFINITE


class _Decode:
    """The decode lane: projected steps, of which the first may be under way."""

    __slots__ = ("cores", "ends", "extra", "flying", "full", "left", "taken")

    def __init__(self) -> None:
        self.cores = 0
        self.ends: Floats = _NONE
        self.full: Floats = _NONE  # seconds of each step, had it begun at the present rate
        self.flying = False  # a step is under way
        self.left = 1.0  # part of that step
        self.taken = 0  # blocks of that step
        self.extra = 0.0


class Lanes:
    """Free-running lanes. They stop, one after the other, when a plan wants another runner."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.next_seconds = INFINITE
        self._prefill, self._decode = _Prefill(), _Decode()
        self._plan: Plan | None = None

    # -- events

    def begin(self, now: float, plan: Plan) -> None:
        wait = self.device.planning.switch_wait(plan)
        if wait:
            # A change of runner; changes of the split within it are seen per lane.
            self._prefill.cores = self._decode.cores = 0
        self._plan = plan
        self._start(now, wait)

    def turn(self, now: float) -> bool:
        self._settle_decode(now)
        self._settle_prefill(now)
        if not self._decode.flying:
            self.device.join()
            if not self._prefill.chunks.parts:
                return True
        plan = self.device.planning.ask(now)
        self._plan = plan
        if self.device.kind_of(plan) == "lanes":
            self._start(now, 0.0)
        else:
            self._project(now, most=1 if self._decode.flying else 0)  # drain
        return False

    def arrived(self, now: float) -> None:
        idle = not self._prefill.chunks.parts and not self.device.blocked
        if idle or (self.device.joining and not self._decode.flying):
            self.next_seconds = now
        elif self.device.joining and len(self._decode.ends) > 1:
            self.next_seconds = now  # cut decode's projection to the step under way

    def busy_cores(self) -> tuple[int, int, int]:
        prefill = self._prefill.cores if self._prefill.chunks.parts else 0
        decode = self._decode.cores if self._decode.flying else 0
        if self._plan is not None and self._plan.mode == "shared":
            return 0, 0, max(prefill, decode)
        return prefill, decode, 0

    # -- what is over

    def _settle_decode(self, now: float) -> None:
        """Book the steps that have ended by now, and how much is left of the one under way."""
        lane, device = self._decode, self.device
        if not lane.flying:
            return
        count = len(lane.ends)
        over = count if lane.ends[-1] <= now else int(np.searchsorted(lane.ends, now, side="right"))
        if over:
            device.counters.steps += over
            device.kv.grow(device.decoding.blocks(over) - lane.taken)
            device.decoding.advance(lane.ends[:over])
            lane.taken, lane.extra = 0, 0.0
            device.decodes_ran()
        if over == count:
            lane.flying, lane.left = False, 1.0
            return
        lane.left = (float(lane.ends[over]) - now) / float(lane.full[over])
        if over:
            if lane.left > 1 - _ROUNDING:  # at a boundary: nothing is under way yet
                lane.flying, lane.left = False, 1.0
            else:
                lane.taken = device.decoding.blocks(1)
                device.kv.grow(lane.taken)

    def _settle_prefill(self, now: float) -> None:
        lane, device = self._prefill, self.device
        if not lane.chunks.parts:
            return
        if lane.end <= now:
            device.counters.prefills += 1
            chunks, lane.chunks = lane.chunks, NOTHING
            lane.end = INFINITE
            device.in_flight = NOTHING
            device.prompts_ran(chunks, now)
        else:
            lane.left = (lane.end - now) / lane.full

    # -- what is next

    def _start(self, now: float, wait: float) -> None:
        """Start what each lane has, on the cores that the plan gives it and the other has left."""
        plan, device = self._plan, self.device
        assert plan is not None
        short = False
        if not self._decode.flying:
            device.join()
            if device.decoding.sequences:
                short = device.secure()
        if not self._prefill.chunks.parts:
            self._start_prefill(plan, wait, admit=not short)
        self._start_decode(plan, wait)
        self._project(now)

    def _room(self, plan: Plan, wanted: int, other: int) -> int:
        if plan.mode == "shared":
            return wanted
        return min(wanted, self.device.forecaster.cores - other)

    def _start_prefill(self, plan: Plan, wait: float, *, admit: bool) -> None:
        lane, device = self._prefill, self.device
        cores = self._room(plan, plan.split.prefill, self._decode.cores if self._decode.flying else 0)
        if cores < 1:
            return
        lane.chunks = device.in_flight = device.chunks(plan.budget, admit=admit)
        if lane.chunks.parts:
            lane.left = 1.0
            lane.extra = self._changed(lane.cores, cores) or wait
            lane.cores = cores

    def _start_decode(self, plan: Plan, wait: float) -> None:
        lane, device = self._decode, self.device
        if lane.flying or not device.decoding.sequences:
            return
        cores = self._room(plan, plan.split.decode, self._prefill.cores if self._prefill.chunks.parts else 0)
        if cores < 1 or (
            device.decoding.blocks(1) > device.kv.free and device.secure() and not device.decoding.sequences
        ):
            return
        lane.flying, lane.left = True, 1.0
        lane.extra = self._changed(lane.cores, cores) or wait
        lane.cores = cores
        lane.taken = device.decoding.blocks(1)
        device.kv.grow(lane.taken)

    def _changed(self, before: int, cores: int) -> float:
        if before in (0, cores):
            return 0.0
        self.device.counters.switches += 1
        return self.device.config.switch_seconds

    def _project(self, now: float, most: int | None = None) -> None:
        """Ends at the present rates; at most `most` steps of decode."""
        prefill, decode, config = self._prefill, self._decode, self.device.config
        prefill_seconds, first, slower = self._rates()
        if prefill.chunks.parts:
            prefill.full = max(prefill_seconds, config.dispatch_seconds) + config.launch_seconds + prefill.extra
            prefill.end = now + prefill.left * prefill.full
        if decode.flying:
            count = self._count(now, first) if most is None else most
            load = self._decode_load()
            steps = self.device.forecaster.steps(decode.cores, load, count) * slower
            full = np.maximum(steps, config.graph_seconds) + config.launch_seconds
            full[0] += decode.extra
            taken = full.copy()
            taken[0] *= decode.left
            decode.full, decode.ends = full, now + np.cumsum(taken)
        end = float(decode.ends[-1]) if decode.flying else INFINITE
        self.next_seconds = min(prefill.end, end)

    def _count(self, now: float, step: float) -> int:
        """Steps to project: up to what cuts them for certain."""
        device, decoding, lane = self.device, self.device.decoding, self._decode
        plan = self._plan
        assert plan is not None
        wanted = self._room(plan, plan.split.decode, 0)
        held_back = bool(device.prompts) and not self._prefill.chunks.parts and not device.blocked
        if device.joining or wanted != lane.cores or held_back:
            return 1
        count = decoding.affordable(device.kv.free + lane.taken, decoding.until_finish())
        if self._prefill.chunks.parts:
            count = min(count, int((self._prefill.end - now) / step) + 2)
        return count

    def _rates(self) -> tuple[float, float, float]:
        """Seconds of the prefill iteration and of the next decode step, and how many times slower than alone that is."""
        forecaster, prefill, decode = self.device.forecaster, self._prefill, self._decode
        running = bool(prefill.chunks.parts)
        if not decode.flying:
            return (forecaster.seconds(prefill.cores, prefill.chunks.load) if running else 0.0), 0.0, 1.0
        load = self._decode_load()
        alone = forecaster.seconds(decode.cores, load)
        if not running:
            return 0.0, alone, 1.0
        plan = self._plan
        assert plan is not None
        if plan.mode == "shared":
            weight = min(max(plan.weight, 0.01), 0.99)
            return forecaster.seconds(prefill.cores, prefill.chunks.load) / (1 - weight), alone / weight, 1 / weight
        seconds, step = forecaster.beside(prefill.cores, prefill.chunks.load, decode.cores, load)
        return seconds, step, step / alone

    def _decode_load(self) -> Load:
        decoding = self.device.decoding
        return Load.decode(decoding.sequences, decoding.seen)
