# SPDX-License-Identifier: Apache-2.0
"""Sarathi-Serve (OSDI'24): the whole device, decode first, and prompts in chunks up to a fixed token budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flexnpu.planner.chunks import chunk_load
from flexnpu.planner.lanes import need_budget
from flexnpu.planner.plan import Explanation, Looks, Plan, mixed, ms, once, verdict
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split


@dataclass(frozen=True, slots=True)
class Chunked:
    """budget: tokens of an iteration; None: the engine's own (snapshot.budget)."""

    budget: int | None = None
    name: str = "chunked"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.NOTHING

    def __post_init__(self) -> None:
        need_budget("chunked", self.budget)

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        budget = self.budget or snapshot.budget
        cores = snapshot.device_cores

        def explain() -> Explanation:
            return _explain(snapshot, forecaster, budget)

        # Looking at the forecast is part of the explanation: the rule itself has none.
        return Plan("aggregated", Split(cores, cores), budget, once(explain))


def _explain(snapshot: Snapshot, forecaster: PhaseForecaster, budget: int) -> Explanation:
    cores = snapshot.device_cores
    prompts = chunk_load(snapshot, forecaster, budget - snapshot.running)
    tokens = snapshot.running + prompts.tokens
    seconds = forecaster.seconds(cores, forecaster.load(snapshot.decode).plus(prompts)) if tokens else 0.0
    holds = not snapshot.running or seconds <= snapshot.targets.itl
    chosen = mixed(cores, seconds, tokens, verdict(holds), budget)
    reason = (
        f"decode's {snapshot.running:.0f} tokens first, then {prompts.tokens:.0f} of prompts, up to the budget of "
        f"{budget}: {ms(seconds)} on all {cores} cores"
    )
    return Explanation(reason, chosen, meets_itl=holds)
