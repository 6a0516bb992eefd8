# SPDX-License-Identifier: Apache-2.0
"""semi-PD (arXiv 2504.19867): cores per phase over one KV cache, moved by feedback.

Once per window the target percentiles of TTFT and ITL are compared with their targets. The side that fails gets a step
of the other's cores; when both fail, or neither, the split stays. No forecast, so it answers a change of load one
window late and one step at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flexnpu.planner.lanes import lanes, nearest, need, need_budget
from flexnpu.planner.plan import Looks, Plan
from flexnpu.planner.snapshot import Feedback, PhaseForecaster, Snapshot, Targets


@dataclass(frozen=True, slots=True)
class SemiPd:
    """start: decode's part of the device at first. step: part of the device that a window moves."""

    start: float = 0.5
    step: float = 0.05
    budget: int | None = None
    name: str = "semi-pd"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.WINDOW

    def __post_init__(self) -> None:
        need_budget("semi-pd", self.budget)
        need("semi-PD start (decode's part of the device)", self.start, 0.0, 1.0)
        need("semi-PD step (part of the device)", self.step, 0.0, 1.0)

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        allowed = snapshot.decode_cores
        now = snapshot.current if snapshot.current_mode == "split" else None
        held = nearest(allowed, now.decode if now else self.start * snapshot.device_cores)
        sign, why = _side(snapshot.feedback, snapshot.targets)
        if sign:
            step = max(1, round(self.step * snapshot.device_cores))
            beyond = [count for count in allowed if (count - held) * sign > 0]
            held = nearest(beyond, held + sign * step) if beyond else held
        return lanes(snapshot, forecaster, held, self.budget or snapshot.budget, why)


def _side(feedback: Feedback | None, targets: Targets) -> tuple[int, str]:
    """+1: a step to decode, -1: to prefill, 0: stay; and why."""
    if feedback is None:
        return 0, "within a window"
    slow_prefill = feedback.ttft is not None and feedback.ttft > targets.ttft
    slow_decode = feedback.itl is not None and feedback.itl > targets.itl
    if slow_prefill == slow_decode:
        return 0, "both targets are missed" if slow_prefill else "both targets are met"
    return (1, "the ITL target is missed") if slow_decode else (-1, "the TTFT target is missed")
