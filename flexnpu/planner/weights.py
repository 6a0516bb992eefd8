# SPDX-License-Identifier: Apache-2.0
"""FlexNPU as published (arXiv 2606.04415): both phases on all cores, time shared by a weight; rules of thumb, no model.

The paper gives the rules in words; the equation is ours. Decode's weight w starts at what saturates its bandwidth, b,
because more gains nothing; as prompts wait, prefill is the bottleneck and is favoured: with mean wait v, and t_p and
t_d the time of the next prefill and decode iteration on the whole device,

    w = clamp(b / (1 + v / (t_p + t_d)), floor, b)

b: least share of the cores on which decode reaches `saturated` of its speed on all. No targets, no partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.planner.chunks import chunk_load
from flexnpu.planner.lanes import need, need_budget, whole_device
from flexnpu.planner.plan import Alternative, Explanation, Looks, Plan, ms, once, rate, verdict
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split


@dataclass(frozen=True, slots=True)
class Weights:
    """floor: the least part of the time that decode keeps, whatever waits. budget: tokens of a prefill iteration."""

    floor: float = 0.2
    saturated: float = 0.95
    budget: int | None = None
    name: str = "weights"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.WAIT

    def __post_init__(self) -> None:
        need_budget("weights", self.budget)
        need("weights floor (decode's least part of the time)", self.floor, 0.01, 0.99)
        need("weights saturated (part of decode's speed)", self.saturated, 0.01, 1.0)

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        budget = self.budget or snapshot.budget
        running = forecaster.load(snapshot.decode)
        if not running.tokens or not snapshot.prompts:
            return whole_device(snapshot, forecaster, budget)
        prompts = chunk_load(snapshot, forecaster, budget)
        cores = snapshot.device_cores
        decode = forecaster.alone(running)[: cores + 1]
        prefill_seconds, decode_seconds = float(forecaster.seconds(cores, prompts)), decode.item(cores)
        # Seconds fall with cores, so reversed they rise: the last that is still near enough to the best.
        near = int(np.searchsorted(decode[::-1], decode_seconds / self.saturated, side="right"))
        most = max(self.floor, (cores + 1 - near) / cores)
        wait = _mean(snapshot.waits)
        weight = max(self.floor, most / (1.0 + wait / (prefill_seconds + decode_seconds)))
        split = Split(cores, cores)

        def explain() -> Explanation:
            seconds = prefill_seconds / (1.0 - weight), decode_seconds / weight
            total = rate(prompts.tokens, seconds[0]) + rate(running.tokens, seconds[1])
            holds = seconds[1] <= snapshot.targets.itl
            reason = (
                f"decode saturates bandwidth at {most:.0%} of the time; prompts have waited {ms(wait)}, so it gets "
                f"{weight:.0%}: {ms(seconds[1])}, beside a prefill of {ms(seconds[0])}"
            )
            return Explanation(
                reason, Alternative("shared", split, 0, *seconds, total, verdict(holds), budget), (), holds
            )

        return Plan("shared", split, budget, once(explain), steps=0, weight=weight)


def _mean(waits: Floats | Sequence[float] | None) -> float:
    if waits is None or not len(waits):
        return 0.0
    return float(np.asarray(waits).mean())
