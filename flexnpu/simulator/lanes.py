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
# So small a part of a step is what rounding leaves.
_ROUNDING = 1e-9
# Neither phase is shut out of the time they share.
_LEAST_WEIGHT, _MOST_WEIGHT = 0.01, 0.99


class _Prefill:
    """The prefill lane: the iteration in flight, if any."""

    __slots__ = ("chunks", "cores", "end", "extra", "full", "left", "running")

    def __init__(self) -> None:
        self.running = False
        self.chunks: Chunks = NOTHING
        self.cores = 0
        self.left = 1.0  # part of the iteration
        self.full = 0.0  # seconds that all of it takes at the present rate
        self.extra = 0.0  # seconds of them that a change of cores costs
        self.end = INFINITE


class _Decode:
    """The decode lane: projected steps, of which the first may be under way."""

    __slots__ = ("cores", "ends", "extra", "full", "left", "running", "taken")

    def __init__(self) -> None:
        self.cores = 0
        self.ends: Floats = _NONE
        self.full: Floats = _NONE  # seconds of each step, had it begun at the present rate
        self.running = False  # a step is under way
        self.left = 1.0  # part of that step
        self.taken = 0  # blocks that were taken for it
        self.extra = 0.0


class Lanes:
    """Free-running lanes. They stop, one after the other, when a plan wants another runner."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.next_seconds = INFINITE
        self._prefill, self._decode = _Prefill(), _Decode()
        self._plan: Plan
        self._weight = 0.5  # of the plan that shared time last

    # -- events

    def begin(self, now: float, plan: Plan) -> None:
        wait = self.device.planning.switch_wait(plan)
        # Cores that change while the lanes run are seen per lane.
        self._prefill.cores = self._decode.cores = 0
        self._follow(plan)
        self._start(now, wait)

    def turn(self, now: float) -> bool:
        self._settle_decode(now)
        self._settle_prefill(now)
        if not self._decode.running:
            self.device.join()
            if not self._prefill.running:
                return True
        self._follow(self.device.planning.ask(now))
        if self.device.kind_of(self._plan) == "lanes":
            self._start(now, 0.0)
        else:
            self._project(now, drain=True)
        return False

    def arrived(self, now: float) -> None:
        device, decode = self.device, self._decode
        starts = not self._prefill.running and not device.blocked
        # Who joins decode waits for the end of the step under way, and no longer.
        joins = device.joins and (not decode.running or len(decode.ends) > 1)
        if starts or joins:
            self.next_seconds = now

    def owed(self, now: float) -> int:
        lane = self._decode
        if not lane.running:
            return 0
        begun = min(int(lane.ends.searchsorted(now, side="right")) + 1, len(lane.ends))
        return self.device.decoding.blocks(begun) - lane.taken

    def cut(self, now: float) -> None:
        if self._decode.running:
            self.next_seconds = now

    def busy_cores(self) -> tuple[int, int, int]:
        prefill = self._prefill.cores if self._prefill.running else 0
        decode = self._decode.cores if self._decode.running else 0
        if self._plan.mode == "shared" or self._shares():
            return 0, 0, max(prefill, decode)
        return prefill, decode, 0

    # -- what is over

    def _settle_decode(self, now: float) -> None:
        """Book the steps that have ended by now, and how much is left of the one under way."""
        lane, device = self._decode, self.device
        if not lane.running:
            return
        count = len(lane.ends)
        over = count if lane.ends[-1] <= now else int(lane.ends.searchsorted(now, side="right"))
        if over:
            device.counters.steps += over
            device.kv.grow(device.decoding.blocks(over) - lane.taken)
            device.decoding.advance(lane.ends[:over])
            lane.taken, lane.extra = 0, 0.0
            device.decodes_ran()
        left = 1.0 if over == count else (lane.ends.item(over) - now) / lane.full.item(over)
        lane.running = over < count and (over == 0 or left < 1.0 - _ROUNDING)
        lane.left = left if lane.running else 1.0
        if over and lane.running:
            lane.taken = device.decoding.blocks(1)
            device.kv.grow(lane.taken)

    def _settle_prefill(self, now: float) -> None:
        lane, device = self._prefill, self.device
        if not lane.running:
            return
        if lane.end <= now:
            device.counters.prefills += 1
            chunks, lane.chunks = lane.chunks, NOTHING
            lane.running, lane.end = False, INFINITE
            device.flying = {}
            device.prompts_ran(chunks, now)
        else:
            lane.left = (lane.end - now) / lane.full

    # -- what is next

    def _follow(self, plan: Plan) -> None:
        self._plan = plan
        if plan.mode == "shared":
            self._weight = plan.weight

    def _start(self, now: float, wait: float) -> None:
        """Start what each lane has, on the cores that the plan gives it and the other has left."""
        device = self.device
        short = False
        if not self._decode.running:
            device.join()
            short = device.decoding.sequences > 0 and device.secure(now)
            self._start_decode(wait)
        if not self._prefill.running:
            self._start_prefill(wait, admit=not short)
        self._project(now)

    def _left(self, wanted: int, other: int) -> int:
        """Of the cores that are wanted, those that the other, at work on so many, leaves. One that has them all shares
        its time until it has ended, also where the plan has parted the cores since."""
        left = self.device.forecaster.cores - other
        return min(wanted, left) if left else wanted

    def _shares(self) -> bool:
        """Whether the lanes have cores at once that they can only have by turns."""
        prefill, decode = self._prefill, self._decode
        return prefill.running and decode.running and prefill.cores + decode.cores > self.device.forecaster.cores

    def _start_decode(self, wait: float) -> None:
        lane, device = self._decode, self.device
        # Beside a prefill that was begun on a part of the cores, decode keeps the other part until that is over.
        cores = self._left(self._plan.split.decode, self._prefill.cores if self._prefill.running else 0)
        if cores < 1 or not device.decoding.sequences:
            return
        lane.running, lane.left = True, 1.0
        lane.extra = self._changed(lane.cores, cores) or wait
        lane.cores = cores
        lane.taken = device.decoding.blocks(1)
        device.kv.grow(lane.taken)

    def _start_prefill(self, wait: float, *, admit: bool) -> None:
        lane, device = self._prefill, self.device
        cores = self._plan.split.prefill
        if self._plan.mode == "split":
            cores = self._left(cores, self._decode.cores if self._decode.running else 0)
        if cores < 1:
            return
        lane.chunks = device.chunks(self._plan.budget, admit=admit)
        lane.running = bool(lane.chunks.parts)
        if lane.running:
            device.flying = {request.index: new for request, new in lane.chunks.parts}
            lane.left = 1.0
            lane.extra = self._changed(lane.cores, cores) or wait
            lane.cores = cores

    def _changed(self, before: int, cores: int) -> float:
        if before in (0, cores):
            return 0.0
        self.device.counters.switches += 1
        return self.device.config.switch_seconds

    def _project(self, now: float, *, drain: bool = False) -> None:
        """Ends at the present rates; draining, of the step under way alone."""
        device, prefill, decode = self.device, self._prefill, self._decode
        load = device.decoding.load if decode.running else None
        step = 0.0
        if prefill.running:
            seconds, step = self._beside(load)
            prefill.full = max(seconds, device.config.dispatch_seconds) + device.config.launch_seconds + prefill.extra
            prefill.end = now + prefill.left * prefill.full
        if load is None:
            self.next_seconds = prefill.end
            return
        count = 1 if drain else self._count(now, step)
        if count == 1:
            self._project_one(now, step)
        else:
            self._project_many(now, step, count)
        self.next_seconds = min(prefill.end, decode.ends.item(-1))

    def _project_one(self, now: float, step: float) -> None:
        """As for many, in plain numbers: every other projection is of one step, and arrays take thrice as long."""
        device, decode = self.device, self._decode
        full = device.decode_step(decode.cores)
        if step:
            full *= step / full
        full = max(full, device.decode_floor(decode.cores)) + device.config.launch_seconds + decode.extra
        decode.full, decode.ends = np.array((full,)), np.array((full * decode.left + now,))

    def _project_many(self, now: float, step: float, count: int) -> None:
        device, decode = self.device, self._decode
        full = device.decode_steps(decode.cores, count)
        if step:
            full *= step / full.item(0)
        np.maximum(full, device.decode_floor(decode.cores), out=full)
        full += device.config.launch_seconds
        first = full.item(0) + decode.extra
        full[0] = first * decode.left
        ends = full.cumsum()
        ends += now
        full[0] = first
        decode.full, decode.ends = full, ends

    def _count(self, now: float, step: float) -> int:
        """Steps to project: up to what cuts them for certain. `step`: seconds of one, 0 when nothing runs beside."""
        device, decode, prefill = self.device, self._decode, self._prefill
        held_back = not prefill.running and device.prompted
        if device.joins or held_back or self._plan.split.decode != decode.cores:
            return 1
        count = device.decoding.affordable(device.kv.free + decode.taken, device.decoding.until_finish())
        if prefill.running:
            count = min(count, int((prefill.end - now) / step) + 2)
        return count

    def _beside(self, load: Load | None) -> tuple[float, float]:
        """Seconds of the prefill iteration, and of decode's next step beside it."""
        forecaster, prefill, decode = self.device.forecaster, self._prefill, self._decode
        if load is None:
            return forecaster.seconds(prefill.cores, prefill.chunks.load), 0.0
        if self._shares():
            weight = min(max(self._weight, _LEAST_WEIGHT), _MOST_WEIGHT)
            alone = forecaster.seconds(prefill.cores, prefill.chunks.load)
            return alone / (1.0 - weight), forecaster.seconds(decode.cores, load) / weight
        return forecaster.beside(prefill.cores, prefill.chunks.load, decode.cores, load)
