# SPDX-License-Identifier: Apache-2.0
"""When a policy is asked, what it is shown, and for how long its answer holds.

It may be asked when nothing is in flight and, where lanes run freely, when either has ended an iteration. With
`reuse_plans` its last answer holds while no phase starts or stops having work, the next iteration's prompt tokens are
the same in number, and these have not left the step they were in, of `_STEPS` per octave: its pairs of query and key,
decode's requests and keys, requests and tokens that wait, and the wait of the first (below the TTFT target: in
sixteenths of it). A policy that orders the queue is asked again whenever the queue has changed, and each policy when a
window of feedback has closed. The rule looks at the simulated state alone, so results stay reproducible.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import log2
from typing import TYPE_CHECKING

import numpy as np

from flexnpu.forecast.batch import Batch, Floats
from flexnpu.forecast.load import Load
from flexnpu.planner import Feedback, Plan, Policy, Snapshot, Split, Upcoming
from flexnpu.simulator.request import Request

if TYPE_CHECKING:
    from flexnpu.simulator.device import Device

_STEPS = 8.0
_PARTS = 16.0  # of the TTFT target
_RECENT = 64  # arrivals that the rate is estimated from
_CONSTANT = frozenset({"chunked", "static"})  # they look at nothing that changes, so their first answer holds


class Planning:
    """The policy of one device, and the plan in force."""

    def __init__(self, device: Device, policy: Policy) -> None:
        self.device, self.policy = device, policy
        self.plan: Plan | None = None
        self.watch: Callable[[float, Plan], None] | None = None
        self.orders = False  # the policy has reordered the queue before, so it may for any arrival
        self._key: tuple[int, ...] = ()
        self._ran: Split | None = None  # the cores that ran last
        self._once = policy.name in _CONSTANT and device.config.reuse_plans
        self._window = Window(device)
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT)

    def arrived(self, request: Request) -> None:
        self._recent.append((request.arrival, request.prompt))

    def first_token(self, request: Request) -> None:
        self._window.ttft.append(request.first_token - request.arrival)

    def finished(self, request: Request) -> None:
        self._window.finished(request)

    def ask(self, now: float) -> Plan:
        """What to do next."""
        if self._once and self.plan is not None:
            return self.plan
        feedback = self._window.closed(now) if now >= self._window.end else None
        if self.plan is None or feedback is not None or not self.device.config.reuse_plans:
            return self._fresh(now, feedback)
        key = self._state(now)
        if key == self._key:
            return self.plan
        self._key = key
        return self._fresh(now, None)

    def _state(self, now: float) -> tuple[int, ...]:
        prompts, decoding, config = self.device.prompts, self.device.decoding, self.device.config
        left, pairs, waited = config.token_budget, 0.0, 0.0
        flying = self.device.flying
        first = None
        for request in prompts:
            new = min(left, request.target - request.computed - flying.get(request.index, 0))
            if new > 0:
                first = first or request
                pairs += new * (request.computed + 0.5 * new)
                left -= new
            if left <= 0:
                break
        if first is not None:
            waited = (now - first.since) / config.targets.ttft
        return (
            left,
            _step(pairs),
            _step(decoding.sequences),
            _step(decoding.seen),
            prompts.changes if self.orders else _step(len(prompts)),
            _step(prompts.tokens),
            int(waited * _PARTS) if waited < 1.0 else 100 + _step(waited),
        )

    def _fresh(self, now: float, feedback: Feedback | None) -> Plan:
        snapshot, shown = self.snapshot(now, feedback)
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

    def snapshot(self, now: float, feedback: Feedback | None = None) -> tuple[Snapshot, list[Request]]:
        """The device's state as policies see it, and the requests behind its prompts."""
        device, config, plan = self.device, self.device.config, self.plan
        decoding = device.decoding
        prefill, waits, shown = self._prompts(now)
        snapshot = Snapshot(
            device_cores=device.forecaster.cores,
            targets=config.targets,
            prefill=prefill,
            decode=Load.decode(decoding.sequences, decoding.seen) if decoding.sequences else (),
            waits=waits,
            credits=decoding.credits(now) if decoding.sequences else None,
            upcoming=self._upcoming(now),
            feedback=feedback,
            current=plan.split if plan else None,
            current_mode=plan.mode if plan else None,
            current_weight=plan.weight if plan else None,
            minima=config.minima,
            graphs=config.graphs,
            budget=config.token_budget,
            kv_free=float(device.kv.free * config.block_tokens),
            overhead=config.launch_seconds,
            margin=config.margin,
            switch_seconds=config.switch_seconds,
        )
        return snapshot, shown

    def _prompts(self, now: float) -> tuple[Batch | tuple[()], Floats | None, list[Request]]:
        """What runs and waits; what a lane has in flight counts as done."""
        prompts, flying = self.device.prompts, self.device.flying
        half = [one for one in prompts.half_run if one.target - one.computed > flying.get(one.index, 0)]
        look = self.device.config.look_ahead
        if not half and not prompts.waiting:
            return (), None, []
        tokens, since = prompts.waiting.columns(look)
        count = len(half)
        new, cached, waits = np.empty((3, count + len(tokens)))
        new[count:], cached[count:] = tokens, 0.0
        np.subtract(now, since, out=waits[count:])
        for place, request in enumerate(half):
            done = request.computed + flying.get(request.index, 0)
            new[place], cached[place], waits[place] = request.target - done, done, now - request.since
        return Batch(new, cached, np.ones(len(new))), waits, half + prompts.waiting.first(look)

    def _upcoming(self, now: float) -> Upcoming | None:
        recent = self._recent
        if len(recent) < 2 or now <= recent[0][0]:
            return None
        mean = sum(tokens for _, tokens in recent) / len(recent)
        return Upcoming(len(recent) / (now - recent[0][0]), mean * self.device.prompts.fresh_share)


class Window:
    """Latencies since the last window closed."""

    __slots__ = ("_device", "end", "itl", "ttft")

    def __init__(self, device: Device) -> None:
        self._device = device
        self.end = device.config.feedback_seconds
        self.ttft: list[float] = []
        self.itl: list[float] = []

    def finished(self, request: Request) -> None:
        if request.generated > 1:
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


def _step(value: float) -> int:
    return int(log2(value) * _STEPS) + 1 if value >= 1.0 else int(value > 0)
