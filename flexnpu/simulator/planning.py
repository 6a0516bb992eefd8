# SPDX-License-Identifier: Apache-2.0
"""When a policy is asked, and for how long its answer holds.

It may be asked when nothing is in flight and, where lanes run freely, when either has ended an iteration. With
`reuse_plans` it is not asked again for what it has answered; how much of the state counts for that is in `looks`. Where
the load counts, two states are taken for the same when they lie in one cell: the same phases have work, the next
iteration's token budget is full or not, and these are in the same step of a logarithmic scale: the forecast of a decode
step on the whole device (16 steps per octave, 4.4 % each), that of the next prefill iteration and decode's requests
(4 steps per octave, 19 % each); and, for who looks at them, the wait of the first prompt (likewise; below the TTFT
target in sixteenths of it), and what waits in requests and in tokens. A policy that orders the queue is asked again
whenever the queue has changed. The rule looks at the simulated state alone, so results stay reproducible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import floor, log2
from typing import TYPE_CHECKING

from flexnpu.forecast.load import Load
from flexnpu.planner import Feedback, Plan, Policy, Split
from flexnpu.simulator.looks import Looks, looks_of
from flexnpu.simulator.view import View

if TYPE_CHECKING:
    from flexnpu.simulator.device import Device

_FINE, _COARSE = 16, 4  # steps per octave
_NOTHING = -(1 << 20)
_PARTS = 16.0  # of the TTFT target
_REMEMBERED = 1024  # answers

Answers = dict[tuple[int, ...], Plan]
Cell = tuple[int, ...]


class Planning:
    """The policy of one device, and the plan in force."""

    def __init__(self, device: Device, policy: Policy, answers: Answers) -> None:
        self.device, self.policy = device, policy
        self.view = View(device)
        self.plan: Plan | None = None
        self.watch: Callable[[float, Plan], None] | None = None
        self.orders = False  # the policy has reordered the queue before, so it may for any arrival
        self._looks = looks_of(policy) if device.config.reuse_plans else None
        self._answers = answers  # of all devices of a pool
        self._cell: Cell = ()
        self._ran: Split | None = None  # the cores that ran last

    def ask(self, now: float) -> Plan:
        """What to do next."""
        looks, plan = self._looks, self.plan
        if looks is Looks.NOTHING and plan is not None:
            return plan
        window = self.view.window
        feedback = window.closed(now) if now >= window.end else None
        if looks is None:
            return self._fresh(now, feedback)
        if looks is Looks.WINDOW:
            return self._fresh(now, feedback) if plan is None or feedback else plan
        if looks is Looks.ALL:
            before, self._cell = self._cell, self._load_cell(now)
            return self._fresh(now, feedback) if plan is None or feedback or before != self._cell else plan
        cell = self._batch_cell() if looks is Looks.BATCH else self._load_cell(now)
        known = self._answers.get(cell)
        if known is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            known = self._answers[cell] = self._general(self._fresh(now, feedback))
        self.plan = known
        return known

    def _general(self, plan: Plan) -> Plan:
        """An answer that runs all there is runs all there is elsewhere in its cell, be it a few tokens more."""
        budget = self.device.config.token_budget
        if self.device.prompts.tokens <= plan.budget < budget and plan.budget:
            return replace(plan, budget=budget)
        return plan

    def _batch_cell(self) -> Cell:
        return self.device.decoding.sequences, int(self.device.prompted)

    def _load_cell(self, now: float) -> Cell:
        """The state in steps; two forecasts are cheaper than a plan."""
        device, decoding, prompts = self.device, self.device.decoding, self.device.prompts
        forecaster = device.forecaster
        step = prefill = waited = 0.0
        if decoding.sequences:
            step = forecaster.seconds(forecaster.cores, Load.decode(decoding.sequences, decoding.seen))
        load, first = self.view.next_prompts()
        if first is not None:
            prefill = forecaster.seconds(forecaster.cores, load)
            waited = (now - first.since) / device.config.targets.ttft
        iterations = (
            _step(step, _COARSE if self._looks is Looks.WAIT else _FINE),
            int(load.prefill_tokens == device.config.token_budget),
            _step(prefill, _COARSE),
            _step(decoding.sequences, _COARSE),
        )
        if self._looks is Looks.LOAD:
            return iterations
        wait = int(waited * _PARTS) if waited < 1.0 else 100 + _step(waited, _COARSE)
        if self._looks is Looks.WAIT:
            return (*iterations, wait)
        queue = prompts.changes if self.orders else _step(len(prompts), _COARSE)
        return (*iterations, wait, queue, _step(prompts.tokens, _COARSE))

    def _fresh(self, now: float, feedback: Feedback | None) -> Plan:
        snapshot, shown = self.view.snapshot(now, self.plan, feedback)
        plan = self.policy.plan(snapshot, self.device.forecaster)
        if plan.order:
            self.device.prompts.reorder(shown, plan.order)
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


def _step(value: float, per_octave: int) -> int:
    return floor(log2(value) * per_octave) if value > 0.0 else _NOTHING
