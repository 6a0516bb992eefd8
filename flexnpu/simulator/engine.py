# SPDX-License-Identifier: Apache-2.0
"""The simulation: arrivals in, finished requests out, both one at a time.

Events are the next arrival, once it has been taken in, and each device's next turn. At equal times an arrival goes
first, then caches that have travelled, then devices by number: who arrives exactly when an iteration starts is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from flexnpu._native import SimulatedRequest
from flexnpu.forecast.batch import Floats
from flexnpu.planner import Policy
from flexnpu.simulator.arrival import NEVER, Arrival, Finished, Sample, Watch
from flexnpu.simulator.config import EngineConfig, SimulationError
from flexnpu.simulator.forecast import EngineForecaster
from flexnpu.simulator.pool import INFINITE, Pool

NOBODY = Watch()


class Simulation:
    """Iterate once over it; `devices` and their counters may be read meanwhile and afterwards."""

    def __init__(
        self,
        trace: Iterable[Arrival],
        forecaster: EngineForecaster,
        policy: Policy,
        config: EngineConfig | None = None,
        watch: Watch = NOBODY,
    ) -> None:
        self.config = config or EngineConfig()
        self.pool = Pool(forecaster, policy, self.config)
        self.devices, self.blocks = self.pool.devices, self.pool.blocks
        self._trace = iter(trace)
        self._seen = 0
        self._last_arrival = 0.0
        self._taken_in = 0.0  # when who arrives next is in an engine's queue
        self._on_sample = watch.sample
        self._on_gaps = watch.gaps
        self._next_sample = 0.0
        self._begun = False
        self.pool.asking.watch = watch.plan

    def __iter__(self) -> Iterator[Finished]:
        if self._begun:
            raise SimulationError("a simulation runs once; make another of the same trace")
        self._begun = True
        arrival = self._next_arrival()
        end, pool = self.config.end_seconds, self.pool
        while True:
            at = self._taken_in if arrival is not None else INFINITE
            device, moved = pool.next_device(), pool.next_transfer
            now = min(at, moved, device.next_seconds)
            if now >= end or now == INFINITE:
                break
            if self._on_sample is not None and now >= self._next_sample:
                self._sample(now)
            if arrival is not None and at == now:
                record = self._arrive(arrival)
                if record is not None:
                    yield record
                arrival = self._next_arrival()
                continue
            if moved == now:
                pool.arrive()
                continue
            device.turn(now)
            if pool.backs:
                pool.after_turn(device, now)
            if self._on_sample is not None and device.next_seconds == INFINITE:
                self._sample(now)  # else what ran last would seem to run until somebody comes
            for request in device.take_finished():
                if self._on_gaps is not None and request.gap_count:
                    self._on_gaps((_gaps(request),))
                yield Finished(*request.record())
        yield from self._unfinished(arrival)

    def _next_arrival(self) -> Arrival | None:
        arrival = next(self._trace, None)
        if arrival is None:
            return None
        if not arrival.seconds >= self._last_arrival:
            raise SimulationError(
                f"request {self._seen} arrives at {arrival.seconds} s, after one at {self._last_arrival} s; arrivals "
                "must be in order of time, so sort the trace"
            )
        if arrival.prompt < 1 or arrival.output < 1:
            raise SimulationError(
                f"request {self._seen} has {arrival.prompt} prompt and {arrival.output} output tokens; both must be 1 "
                "or more"
            )
        self._last_arrival = arrival.seconds
        self._taken_in = max(arrival.seconds, self._taken_in) + self.config.intake_seconds
        return arrival

    def _arrive(self, arrival: Arrival) -> Finished | None:
        index = self._seen
        self._seen += 1
        if arrival.prompt + arrival.output - 1 > self.blocks * self.config.block_tokens:
            return _untouched(index, arrival, dropped=True)
        try:
            blocks = arrival.blocks[: arrival.prompt // self.config.hash_tokens]
            request = SimulatedRequest(index, arrival.seconds, arrival.prompt, arrival.output, blocks)
        except TypeError as error:
            raise SimulationError(
                f"request {index} is {arrival!r}; prompt and output must be whole numbers, blocks a sequence of them"
            ) from error
        self.pool.put(request, self._taken_in)
        return None

    def _unfinished(self, arrival: Arrival | None) -> Iterator[Finished]:
        """Who was there or had yet to come when the end was reached."""
        left = [request for device in self.devices for request in device.all_requests()]
        for request in sorted(left, key=lambda request: request.index):
            yield Finished(*request.record())
        while arrival is not None:
            yield _untouched(self._seen, arrival, dropped=False)
            self._seen += 1
            arrival = self._next_arrival()

    def _sample(self, now: float) -> None:
        assert self._on_sample is not None
        self._next_sample = (now // self.config.sample_seconds + 1) * self.config.sample_seconds
        cores = [device.busy_cores() for device in self.devices]
        prefill, decode, mixed = map(sum, zip(*cores, strict=True))
        waiting = sum([device.prompts.waiting_count for device in self.devices])
        running = sum([device.admitted for device in self.devices])
        self._on_sample(Sample(now, waiting, running, prefill, decode, mixed, self.pool.kv_fraction()))


def _gaps(request: SimulatedRequest) -> Floats:
    gaps: Floats = np.empty(request.gap_count)
    request.gaps(gaps)
    return gaps


def _untouched(index: int, arrival: Arrival, *, dropped: bool) -> Finished:
    """The record of a request that no device can hold, or that had yet to come at the end."""
    at, prompt, output, _ = arrival
    return Finished(at, NEVER, NEVER, prompt, output, 0, 0.0, 0.0, 0.0, 0, dropped=dropped, number=index)


def simulate(
    trace: Iterable[Arrival],
    forecaster: EngineForecaster,
    policy: Policy,
    config: EngineConfig | None = None,
) -> Iterator[Finished]:
    """Every request of the trace, in the order in which they are over."""
    return iter(Simulation(trace, forecaster, policy, config))
