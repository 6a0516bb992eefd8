# SPDX-License-Identifier: Apache-2.0
"""A policy, asked by the engine of a device (native/simulator), which says when and keeps the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from flexnpu.forecast.batch import Batch, Floats
from flexnpu.planner import Feedback, Plan, Policy, Snapshot, Split
from flexnpu.planner.plan import Mode
from flexnpu.simulator.config import EngineConfig
from flexnpu.simulator.forecast import EngineForecaster

if TYPE_CHECKING:
    from flexnpu._native import Device


class Asking:
    """Shows devices to their policy. `watch` is told of each plan."""

    def __init__(self, policy: Policy, forecaster: EngineForecaster, config: EngineConfig) -> None:
        self.watch: Callable[[float, Plan], None] | None = None
        self._policy, self._forecaster, self._config = policy, forecaster, config
        self._ones: Floats = np.ones(64)

    def __call__(self, device: Device, now: float, seen: tuple[float | None, float | None] | None) -> Plan:
        """The policy's plan. seen: TTFT and ITL of a window that has closed."""
        plan = self._policy.plan(self._snapshot(device, now, seen), self._forecaster)
        if self.watch is not None:
            self.watch(now, plan)
        return plan

    def _snapshot(self, device: Device, now: float, seen: tuple[float | None, float | None] | None) -> Snapshot:
        config, decoding, current = self._config, device.decoding, device.current
        prefill, waits = self._prompts(device, now)
        mode, split, weight = _in_force(current) if current else (None, None, None)
        return Snapshot(
            device_cores=self._forecaster.cores,
            targets=config.targets,
            prefill=prefill,
            decode=decoding.load if decoding.sequences else (),
            waits=waits,
            credits=_credits(device, now),
            feedback=Feedback(*seen) if seen else None,
            current=split,
            current_mode=mode,
            current_weight=weight,
            minima=config.minima,
            idle_reserve=config.idle_reserve,
            graphs=config.graphs,
            budget=config.token_budget,
            kv_free=float(device.kv.free * config.block_tokens),
            overhead=config.launch_seconds,
            margin=config.margin,
            switch_seconds=config.switch_seconds,
        )

    def _prompts(self, device: Device, now: float) -> tuple[Batch | tuple[()], Floats | None]:
        """What runs, and what waits and can be admitted, and for how long each has waited."""
        count = device.shown
        if not count:
            return (), None
        new, cached, waits = np.empty((3, count))
        device.show(now, new, cached, waits)
        if count > len(self._ones):
            self._ones = np.ones(2 * count)
        return Batch(new, cached, self._ones[:count]), waits


def _in_force(current: tuple[Mode, int, int, float]) -> tuple[Mode, Split, float | None]:
    mode, prefill, decode, weight = current
    return mode, Split(prefill, decode), weight if mode == "shared" else None


def _credits(device: Device, now: float) -> Floats | None:
    count = device.decoding.sequences
    if not count:
        return None
    credits: Floats = np.empty(count)
    device.decoding.credits(now, credits)
    return credits
