# SPDX-License-Identifier: Apache-2.0
"""When a policy is asked, what it is shown, and for how long its answer holds.

A plan is asked for when nothing is in flight, and, where lanes run freely, when either has ended an iteration. With
`reuse_plans` the last answer is used again while what decides has changed by less than a step of `_STEPS` per octave:
which phases have work, decode's requests and keys, the queue's length and tokens, the next prompt, how long the first
has waited in 16ths of the TTFT target, and the plan in force. The rule looks at the simulated state alone, so results
stay reproducible.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from math import log2
from typing import TYPE_CHECKING

import numpy as np

from flexnpu.forecast.batch import Batch, Floats
from flexnpu.forecast.load import Load
from flexnpu.planner import Plan, Policy, Snapshot, Split
from flexnpu.simulator.request import Request

if TYPE_CHECKING:
    from flexnpu.simulator.device import Device

_STEPS = 8.0
_LONG = 16.0  # parts of the TTFT target


class Planning:
    """The policy of one device, and the plan in force."""

    def __init__(self, device: Device, policy: Policy) -> None:
        self.device, self.policy = device, policy
        self.plan: Plan | None = None
        self.watch: Callable[[float, Plan], None] | None = None
        self.orders = False  # the policy has reordered the queue before, so it may for any arrival
        self._key: tuple[int, ...] = ()
        self._ran: Split | None = None  # the cores that ran last
        self._minima = device.config.minima
        # It looks at nothing, so its first answer holds.
        self._once = policy.name == "chunked" and device.config.reuse_plans

    def ask(self, now: float) -> Plan:
        """What to do next."""
        if self._once and self.plan is not None:
            return self.plan
        if not self.device.config.reuse_plans:
            return self._fresh(now)
        key = self._state(now)
        if self.plan is None or key != self._key:
            self._key = key
            return self._fresh(now)
        return self.plan

    def _state(self, now: float) -> tuple[int, ...]:
        prompts, decoding = self.device.prompts, self.device.decoding
        first = (prompts.half_run or prompts.waiting or (None,))[0]
        left = waited = 0
        if first is not None:
            left = _step(first.target - first.computed)
            waited = int((now - first.arrival) / self.device.config.targets.ttft * _LONG)
            waited = min(waited, int(_LONG * 2))
        return (
            _step(decoding.sequences),
            _step(decoding.seen),
            _step(len(prompts)),
            _step(prompts.tokens),
            left,
            waited,
        )

    def _fresh(self, now: float) -> Plan:
        plan = self.policy.plan(self.snapshot(now), self.device.forecaster)
        if plan.order:
            self.device.prompts.reorder(plan.order)
            self.orders = True
        self.device.counters.plans += 1
        self.plan = plan
        if self.watch is not None:
            self.watch(now, plan)
        return plan

    def switch_wait(self, plan: Plan) -> float:
        """Seconds that the device waits because a phase runs on other cores than before."""
        before, self._ran = self._ran, plan.split
        if before is None or before == self._ran:
            return 0.0
        self.device.counters.switches += 1
        return self.device.config.switch_seconds

    def snapshot(self, now: float) -> Snapshot:
        """The device's state as policies see it."""
        device, config, plan = self.device, self.device.config, self.plan
        shown = self._shown()
        decoding = device.decoding
        return Snapshot(
            device_cores=device.forecaster.cores,
            targets=config.targets,
            prefill=_columns(shown),
            decode=Load.decode(decoding.sequences, decoding.seen) if decoding.sequences else (),
            waits=now - np.array([request.arrival for request in shown]) if shown else None,
            current=plan.split if plan else None,
            current_mode=plan.mode if plan else None,
            current_weight=plan.weight if plan else None,
            minima=self._minima,
            graphs=config.graphs,
            budget=config.token_budget,
            kv_free=float(device.kv.free * config.block_tokens),
            margin=config.margin,
            switch_seconds=config.switch_seconds,
        )

    def _shown(self) -> list[Request]:
        prompts = self.device.prompts
        return [*prompts.half_run, *islice(prompts.waiting, self.device.config.look_ahead)]


def _columns(requests: list[Request]) -> Batch:
    new: Floats = np.array([request.target - request.computed for request in requests], dtype=np.float64)
    cached: Floats = np.array([request.computed for request in requests], dtype=np.float64)
    return Batch(new, cached, np.ones(len(requests)))


def _step(value: float) -> int:
    return int(log2(value) * _STEPS) + 1 if value > 0 else 0
