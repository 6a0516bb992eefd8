# SPDX-License-Identifier: Apache-2.0
"""When a policy is asked, and for how long its answer holds.

It may be asked when nothing is in flight and, where lanes run freely, when either has ended an iteration. With
`reuse_plans` it is not asked again for what it has answered; how much of the state counts it says (`Looks`). Where
the load counts, two states are taken for the same when they lie in one cell: the same phases have work, the next
iteration's token budget is full or not, and these are in the same step of a logarithmic scale: a linear
estimate of a decode step (16 steps per octave, 4.4 % each), that of the next prefill iteration and decode's requests
(4 steps per octave, 19 % each); and, for who looks at them, the wait of the first prompt (likewise; below the TTFT
target in sixteenths of it), and what waits in requests and in tokens (or this, decode's step and the split alone). A
policy that orders the queue is asked again whenever the queue has changed, and one that looks at the queue alone is
asked once what to do while no prompt can run. The rule looks at the simulated state alone, so results stay
reproducible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import floor, log2
from typing import TYPE_CHECKING

from flexnpu.planner import Feedback, Looks, Plan, Policy, Split
from flexnpu.planner.plan import Explanation
from flexnpu.simulator.gauge import Gauge
from flexnpu.simulator.view import View

if TYPE_CHECKING:
    from flexnpu.simulator.device import Device

_FINE, _COARSE = 16, 4  # steps per octave
_NOTHING = -(1 << 20)
_PARTS = 16.0  # of the TTFT target
ALIKE = 16  # iterations that are taken at once
_IDLE = (0,)  # the cell of all states in which no prompt can run
_REMEMBERED = 1 << 14  # answers: more than there are cells in a trace of any usual spread
_BY_QUEUE = frozenset({Looks.QUEUE, Looks.ALL})
_BY_WAIT = _BY_QUEUE | {Looks.WAIT}
_BY_CELL = frozenset({Looks.BATCH, Looks.LOAD, Looks.WAIT, Looks.SPLIT})

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
        self._gauge = Gauge.of(device.forecaster, device.config.token_budget)
        self._looks = getattr(policy, "looks", Looks.ALL) if device.config.reuse_plans else None
        # Who looks at no feedback collects none.
        self.view.window.open = self._looks in (None, Looks.WINDOW, Looks.ALL)
        self._answers = answers  # of all devices of a pool
        self._cell: Cell = ()
        self._ran: Split | None = None  # the cores that ran last

    def ask(self, now: float) -> Plan:
        """What to do next."""
        looks, plan = self._looks, self.plan
        if looks is Looks.NOTHING and plan is not None:
            return plan
        if looks in _BY_CELL:
            return self._remembered(now, self._cell_of(looks, now))
        if looks is Looks.QUEUE and not self.device.prompted:
            self._cell = _IDLE
            return self._remembered(now, _IDLE)
        window = self.view.window
        feedback = window.closed(now) if now >= window.end else None
        same = looks is Looks.WINDOW
        if looks in _BY_QUEUE:
            before, self._cell = self._cell, self._load_cell(now)
            same = before == self._cell
        if plan is None or feedback or not same:
            return self._fresh(now, feedback)
        return plan

    def patience(self, now: float, seconds: float) -> int:
        """How many iterations of so many seconds may pass before the policy is asked again, the load being alike."""
        if self._looks is None:
            return 1
        if self._looks in _BY_WAIT and self.device.prompts.half_run:
            target = self.device.config.targets.ttft
            if now - self.device.prompts.half_run[0].since < target:
                return max(1, min(ALIKE, int(target / _PARTS / seconds)))
        return ALIKE

    @property
    def minds_arrivals(self) -> bool:
        """Whether the policy may want an arrival to go before others."""
        return self.orders or self._looks is None

    def _remembered(self, now: float, cell: Cell) -> Plan:
        known = self._answers.get(cell)
        if known is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            known = self._answers[cell] = self._kept(self._fresh(now, None))
        self.plan = known
        return known

    def _cell_of(self, looks: Looks | None, now: float) -> Cell:
        if looks is Looks.BATCH:
            return self._batch_cell()
        return self._split_cell() if looks is Looks.SPLIT else self._load_cell(now)

    def _kept(self, plan: Plan) -> Plan:
        """As it holds all over its cell: what runs all there is runs all there is, be it a few tokens more. Without its
        words, which have been read by now and hold on to the whole state."""
        budget = self.device.config.token_budget
        everything = self.device.prompts.tokens <= plan.budget < budget and plan.budget
        return replace(plan, budget=budget if everything else plan.budget, explain=_untold)

    def _batch_cell(self) -> Cell:
        return self.device.decoding.sequences, int(self.device.prompted)

    def _split_cell(self) -> Cell:
        device, decoding = self.device, self.device.decoding
        step = self._gauge.decode(decoding.sequences, decoding.seen) if decoding.sequences else 0.0
        waiting = device.prompts.tokens if device.prompted else 0
        cores = self.plan.split.decode if self.plan else 0
        return _step(step, _FINE), _step(decoding.sequences, _COARSE), _step(waiting, _COARSE), cores

    def _load_cell(self, now: float) -> Cell:
        device, decoding, prompts = self.device, self.device.decoding, self.device.prompts
        gauge = self._gauge
        tokens, pairs, first = self.view.next_prompts()
        waited = (now - first.since) / device.config.targets.ttft if first else 0.0
        step = gauge.decode(decoding.sequences, decoding.seen) if decoding.sequences else 0.0
        prefill = gauge.prefill(tokens, pairs) if tokens else 0.0
        iterations = (
            _step(step, _COARSE if self._looks is Looks.WAIT else _FINE),
            int(tokens == device.config.token_budget),
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
        snapshot, half = self.view.snapshot(now, self.plan, feedback)
        plan = self.policy.plan(snapshot, self.device.forecaster)
        if plan.order:
            self.device.prompts.reorder(half, snapshot.prompts - len(half), plan.order)
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


def _untold() -> Explanation:
    raise LookupError("a remembered plan keeps no words; its policy told them when it was asked")


def _step(value: float, per_octave: int) -> int:
    return floor(log2(value) * per_octave) if value > 0.0 else _NOTHING
