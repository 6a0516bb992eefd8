# SPDX-License-Identifier: Apache-2.0
"""A device's state as policies see it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from flexnpu.forecast.batch import Batch, Floats
from flexnpu.planner import Feedback, Plan, Snapshot
from flexnpu.simulator.request import Request

if TYPE_CHECKING:
    from flexnpu.simulator.device import Device


class View:
    """Makes snapshots, and keeps what they need of the past."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.window = Window(device)
        self._columns: dict[float, Floats] = {0.0: np.zeros(64), 1.0: np.ones(64)}

    def snapshot(self, now: float, plan: Plan | None, feedback: Feedback | None) -> tuple[Snapshot, list[Request]]:
        """The state, and the half-run ones of its prompts, which are its first. `plan` is the one in force."""
        device, config = self._device, self._device.config
        decoding = device.decoding
        prefill, waits, half = self._prompts(now)
        snapshot = Snapshot(
            device_cores=device.forecaster.cores,
            targets=config.targets,
            prefill=prefill,
            decode=decoding.load if decoding.sequences else (),
            waits=waits,
            credits=decoding.credits(now) if decoding.sequences else None,
            feedback=feedback,
            current=plan.split if plan else None,
            current_mode=plan.mode if plan else None,
            current_weight=plan.weight if plan and plan.mode == "shared" else None,
            minima=config.minima,
            idle_reserve=config.idle_reserve,
            graphs=config.graphs,
            budget=config.token_budget,
            kv_free=float(device.kv.free * config.block_tokens),
            overhead=config.launch_seconds,
            margin=config.margin,
            switch_seconds=config.switch_seconds,
        )
        return snapshot, half

    def _constant(self, value: float, count: int) -> Floats:
        """A column of the same value, made once for all."""
        if count > len(self._columns[value]):
            self._columns[value] = np.full(2 * count, value)
        return self._columns[value][:count]

    def next_prompts(self) -> tuple[int, float, Request | None]:
        """Tokens of the next iteration's prompts, their pairs of query and key, and the first of them."""
        budget = left = self._device.config.token_budget
        pairs, first = 0.0, None
        prompts, flying = self._device.prompts, self._device.flying
        for request in chain(prompts.half_run, () if self._device.blocked else prompts.waiting):
            cached = request.computed + flying.get(request.index, 0)
            new = min(left, request.target - cached)
            if new > 0:
                first = first or request
                left -= new
                pairs += new * (cached + 0.5 * (new + 1))
                if not left:
                    break
        return budget - left, pairs, first

    def _prompts(self, now: float) -> tuple[Batch | tuple[()], Floats | None, list[Request]]:
        """What runs, and what waits and can be admitted; what a lane has in flight counts as done."""
        prompts, flying = self._device.prompts, self._device.flying
        half = prompts.half_run
        if flying:
            half = [one for one in half if one.target - one.computed > flying.get(one.index, 0)]
        look = 0 if not prompts.waiting or self._device.blocked else self._device.config.look_ahead
        if not half and not look:
            return (), None, []
        done = [request.computed + flying.get(request.index, 0) for request in half]
        left = [request.target - computed for request, computed in zip(half, done, strict=True)]
        new, since = prompts.waiting.columns(look, left, [request.since for request in half])
        cached = self._constant(0.0, len(new))
        if half:
            cached = cached.copy()
            cached[: len(done)] = done
        # A copy, since a plan explains itself later, when the queue is another.
        return Batch(new.copy(), cached, self._constant(1.0, len(new))), now - since, half


class Window:
    """Latencies since the last window closed."""

    __slots__ = ("_device", "end", "itl", "open", "ttft")

    def __init__(self, device: Device) -> None:
        self._device = device
        self.open = True
        self.end = device.config.feedback_seconds
        self.ttft: list[float] = []
        self.itl: list[float] = []

    def first_token(self, request: Request) -> None:
        if self.open:
            self.ttft.append(request.first_token - request.arrival)

    def finished(self, request: Request) -> None:
        if self.open and request.generated > 1:
            each = self._device.config.targets.each
            mean = (request.last_token - request.first_token) / (request.generated - 1)
            self.itl.append(request.itl_p99() if each else mean)

    def closed(self, now: float) -> Feedback:
        """What it has seen; the next one begins."""
        seconds, part = self._device.config.feedback_seconds, self._device.config.feedback_part
        found = [_percentile(values, part) for values in (self.ttft, self.itl)]
        self.ttft, self.itl = [], []
        self.end = (now // seconds + 1) * seconds
        return Feedback(*found)


def _percentile(values: list[float], part: float) -> float | None:
    """Nearest rank."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else None
