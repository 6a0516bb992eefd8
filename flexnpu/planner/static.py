# SPDX-License-Identifier: Apache-2.0
"""A static split: each phase keeps its cores, whatever comes; the lanes run freely."""

from __future__ import annotations

from dataclasses import dataclass

from flexnpu.planner.chunks import chunk, tokens_of
from flexnpu.planner.plan import Alternative, Explanation, Plan, ms, once, rate
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split


@dataclass(frozen=True, slots=True)
class Static:
    """decode: decode's cores, or, below 1, its part of the device. budget: tokens of a prefill iteration."""

    decode: float = 0.5
    budget: int | None = None
    name: str = "static"
    layout: str = "one device"

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        wanted = self.decode * snapshot.device_cores if self.decode < 1 else self.decode
        cores = min(snapshot.decode_cores, key=lambda count: (abs(count - wanted), count))
        split = Split(snapshot.device_cores - cores, cores)
        budget = self.budget or snapshot.budget
        return Plan("split", split, budget, once(lambda: explain_lanes(snapshot, forecaster, split, budget, FIXED)), 0)


FIXED = "a fixed split"


def explain_lanes(snapshot: Snapshot, forecaster: PhaseForecaster, split: Split, budget: int, why: str) -> Explanation:
    """The words for two lanes that run freely on `split`."""
    prompts = chunk(snapshot, budget)
    prefill = decode = 0.0
    if prompts and snapshot.running:
        both = forecaster.split(prompts, snapshot.decode, snapshot.device_cores)
        prefill, decode = float(both[0][split.decode]), float(both[1][split.decode])
    elif prompts:
        prefill = float(forecaster.alone(prompts)[split.prefill])
    elif snapshot.running:
        decode = float(forecaster.alone(snapshot.decode)[split.decode])
    total = rate(tokens_of(prompts), prefill) + rate(snapshot.running, decode)
    holds = decode <= snapshot.targets.itl
    verdict = f"{'meets' if holds else 'misses'} the ITL target"
    chosen = Alternative("split", split, 0, prefill, decode, total, verdict, budget)
    reason = f"{why}: {split.prefill} cores for prefill ({ms(prefill)}), {split.decode} for decode ({ms(decode)})"
    return Explanation(reason, chosen, (), holds)
