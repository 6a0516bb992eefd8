# SPDX-License-Identifier: Apache-2.0
"""DuetServe (arXiv 2511.04791): one engine that runs both phases, mixed while it can, split while it must.

Mixed on all cores while that iteration keeps the ITL target. Otherwise S_d cores for decode, S_p = S - S_d for prefill,
and k decode steps per prefill iteration, to maximise (k * n_d + n_p) / max(k * t_d(S_d), t_p(S_p)) subject to
t_d(S_d) <= target.
As published: no margin, no contention between the phases, no cost of a switch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flexnpu.forecast import Request
from flexnpu.planner.chunks import chunk, together, tokens_of
from flexnpu.planner.plan import Alternative, Explanation, Looks, Plan, mixed, ms, once, verdict
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split

STEP = 2  # cores; partitions are tried in steps of two


@dataclass(frozen=True, slots=True)
class DuetServe:
    """budget: tokens of an iteration (None: snapshot.budget). step: cores between two tried splits."""

    budget: int | None = None
    step: int = STEP
    name: str = "duetserve"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.LOAD

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        """Mixed or split, for the next iteration."""
        budget = self.budget or snapshot.budget
        prompts = chunk(snapshot, budget - snapshot.running)
        whole = _mixed(snapshot, forecaster, prompts)
        target = snapshot.targets.itl
        if not snapshot.running or not prompts or whole.decode_seconds <= target:
            return Plan("aggregated", whole.split, budget, once(lambda: _stays_mixed(snapshot, whole)))
        splits = self._splits(snapshot, forecaster, prompts)
        feasible = [candidate for candidate in splits if candidate.decode_seconds <= target]
        if feasible:
            best = max(feasible, key=lambda candidate: (candidate.tokens_per_second, -candidate.split.decode))
        else:
            best = min(splits, key=lambda candidate: candidate.decode_seconds)
        explain = once(lambda: _is_split(snapshot, whole, best, splits))
        return Plan("split", best.split, tokens_of(prompts), explain, best.steps)

    def _splits(self, snapshot: Snapshot, forecaster: PhaseForecaster, prompts: Sequence[Request]) -> list[Alternative]:
        prefill_seconds = forecaster.alone(prompts).tolist()
        decode_seconds = forecaster.alone(snapshot.decode).tolist()
        tokens = tokens_of(prompts), snapshot.running
        target = snapshot.targets.itl
        found = []
        for cores in snapshot.decode_cores[:: 1 if snapshot.graphs else self.step]:
            split = Split(snapshot.device_cores - cores, cores)
            seconds = prefill_seconds[split.prefill], decode_seconds[cores]
            steps, best = best_steps(tokens, seconds)
            found.append(Alternative("split", split, steps, *seconds, best, verdict(seconds[1] <= target)))
        return found


def _mixed(snapshot: Snapshot, forecaster: PhaseForecaster, prompts: Sequence[Request]) -> Alternative:
    cores = snapshot.device_cores
    tokens = snapshot.running + tokens_of(prompts)
    seconds = float(forecaster.alone(together(snapshot.decode, prompts))[cores]) if tokens else 0.0
    return mixed(cores, seconds, tokens, verdict(seconds <= snapshot.targets.itl))


def _stays_mixed(snapshot: Snapshot, whole: Alternative) -> Explanation:
    reason = f"the iteration takes {ms(whole.decode_seconds)} on all {snapshot.device_cores} cores"
    if snapshot.running:
        reason += f"; the ITL target is {ms(snapshot.targets.itl)}"
    holds = not snapshot.running or whole.decode_seconds <= snapshot.targets.itl
    return Explanation(reason, whole, (), holds)


def _is_split(snapshot: Snapshot, whole: Alternative, best: Alternative, splits: list[Alternative]) -> Explanation:
    target = snapshot.targets.itl
    beaten = (whole, *(split for split in splits if split is not best))
    if best.decode_seconds > target:
        reason = (
            f"no split keeps the ITL target of {ms(target)}: decode takes {ms(best.decode_seconds)} "
            f"even on {best.split.decode} cores; this is the nearest"
        )
        return Explanation(reason, best, beaten, meets_itl=False)
    reason = (
        f"mixed, the iteration would take {ms(whole.decode_seconds)}, over the ITL target of {ms(target)}; "
        f"{best.split.decode} cores for {best.steps} decode steps of {ms(best.decode_seconds)} beside a prefill of "
        f"{ms(best.prefill_seconds)} have the best token rate ({best.tokens_per_second:.0f}/s)"
    )
    return Explanation(reason, best, beaten)


def best_steps(tokens: tuple[float, float], seconds: tuple[float, float]) -> tuple[int, float]:
    """k and its token rate: (k n_d + n_p) / max(k t_d, t_p) rises until decode takes as long as prefill, then falls."""
    prefill, decode = seconds
    low = max(1, math.floor(prefill / decode))
    rates = [((k * tokens[1] + tokens[0]) / max(k * decode, prefill), -k) for k in (low, low + 1)]
    best, steps = max(rates)
    return -steps, best
