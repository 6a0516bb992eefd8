# SPDX-License-Identifier: Apache-2.0
"""Policies that say what they are told to, to see what the engine makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from flexnpu.planner import Explanation, Plan, Split


def unexplained():
    return Explanation("as told", None)


@dataclass(frozen=True)
class Fixed:
    """The same plan always."""

    mode: str = "aggregated"
    split: tuple[int, int] = (4, 4)
    steps: int = 0
    budget: int = 64
    weight: float = 0.5
    name: str = "fixed"
    layout: str = "one device"

    def plan(self, snapshot, forecaster):
        return Plan(self.mode, Split(*self.split), self.budget, unexplained, steps=self.steps, weight=self.weight)


@dataclass(frozen=True)
class Alternating:
    """One plan while prompts wait, another while none does."""

    waiting: Fixed
    idle: Fixed
    name: str = "alternating"
    layout: str = "one device"

    def plan(self, snapshot, forecaster):
        return (self.waiting if snapshot.prompts else self.idle).plan(snapshot, forecaster)


@dataclass(frozen=True)
class Restless:
    """Another way to run nearly every time, told by the state alone; and now and then the queue turned round."""

    name: str = "restless"
    layout: str = "one device"

    def plan(self, snapshot, forecaster):
        seed = int(snapshot.waiting_tokens + 7 * snapshot.running + snapshot.kv_free)
        cores, budget = snapshot.device_cores, 1 + seed % snapshot.budget
        order = tuple(reversed(range(snapshot.prompts))) if seed % 3 == 0 and snapshot.prompts else None
        kind = seed % 4
        if kind == 0:
            return Plan("aggregated", Split(cores, cores), budget, unexplained, order=order)
        if kind == 3:
            return Plan("shared", Split(cores, cores), budget, unexplained, steps=0, weight=0.3, order=order)
        decode = 1 + seed % (cores - 1)
        steps = seed % 5 if kind == 1 else 0
        return Plan("split", Split(cores - decode, decode), budget, unexplained, steps=steps, order=order)
