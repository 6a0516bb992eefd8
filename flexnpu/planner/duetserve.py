# SPDX-License-Identifier: Apache-2.0
"""DuetServe (arXiv 2511.04791): one engine that runs both phases, mixed while it can, split while it must.

Mixed on all cores while that iteration keeps the ITL target. Otherwise S_d cores for decode, S_p = S - S_d for prefill,
and k decode steps per prefill iteration, to maximise (k * n_d + n_p) / max(k * t_d(S_d), t_p(S_p)) subject to
t_d(S_d) <= target.
As published: no margin, no contention between the phases, no cost of a switch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from flexnpu.forecast import Request
from flexnpu.planner.plan import Alternative, Plan, rate
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split

STEP = 2  # cores; partitions are tried in steps of two


def plan(snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
    """Mixed or split, for the next iteration."""
    mixed = _mixed(snapshot, forecaster)
    target = snapshot.targets.itl
    if not snapshot.decode or not snapshot.prefill or mixed.decode_seconds <= target:
        reason = f"the iteration takes {_ms(mixed.decode_seconds)} on all {snapshot.device_cores} cores"
        if snapshot.decode:
            reason += f"; the ITL target is {_ms(target)}"
        return Plan(mixed, reason, (), not snapshot.decode or mixed.decode_seconds <= target)
    splits = _splits(snapshot, forecaster)
    feasible = [candidate for candidate in splits if candidate.decode_seconds <= target]
    if not feasible:
        best = min(splits, key=lambda candidate: candidate.decode_seconds)
        reason = (
            f"no split keeps the ITL target of {_ms(target)}: decode takes {_ms(best.decode_seconds)} "
            f"even on {best.split.decode} cores; this is the nearest"
        )
        return Plan(best, reason, (mixed, *splits), meets_itl=False)
    best = max(feasible, key=lambda candidate: (candidate.tokens_per_second, -candidate.split.decode))
    reason = (
        f"mixed, the iteration would take {_ms(mixed.decode_seconds)}, over the ITL target of {_ms(target)}; "
        f"{best.split.decode} cores for {best.steps} decode steps of {_ms(best.decode_seconds)} beside a prefill of "
        f"{_ms(best.prefill_seconds)} have the best token rate ({best.tokens_per_second:.0f}/s)"
    )
    return Plan(best, reason, (mixed, *splits), meets_itl=True)


def _mixed(snapshot: Snapshot, forecaster: PhaseForecaster) -> Alternative:
    cores = snapshot.device_cores
    requests = (*snapshot.decode, *snapshot.prefill)
    seconds = float(forecaster.alone(requests)[cores]) if requests else 0.0
    verdict = "meets the ITL target" if seconds <= snapshot.targets.itl else "misses the ITL target"
    tokens_per_second = rate(_tokens(requests), seconds)
    return Alternative("aggregated", Split(cores, cores), 1, seconds, seconds, tokens_per_second, verdict)


def _splits(snapshot: Snapshot, forecaster: PhaseForecaster) -> list[Alternative]:
    prefill_seconds = forecaster.alone(snapshot.prefill).tolist()
    decode_seconds = forecaster.alone(snapshot.decode).tolist()
    tokens = _tokens(snapshot.prefill), _tokens(snapshot.decode)
    target = snapshot.targets.itl
    found = []
    for cores in snapshot.decode_range[::STEP]:
        split = Split(snapshot.device_cores - cores, cores)
        seconds = prefill_seconds[split.prefill], decode_seconds[cores]
        verdict = "meets the ITL target" if seconds[1] <= target else "misses the ITL target"
        steps, best = _best_steps(tokens, seconds)
        found.append(Alternative("split", split, steps, *seconds, best, verdict))
    return found


def _best_steps(tokens: tuple[int, int], seconds: tuple[float, float]) -> tuple[int, float]:
    # The rate rises with k until decode takes as long as prefill, and falls after: the best k is next to that point.
    prefill, decode = seconds
    even = prefill / decode
    tried = {max(1, math.floor(even)), math.ceil(even)}
    rates = {k: (k * tokens[1] + tokens[0]) / max(k * decode, prefill) for k in tried if k >= 1}
    best = max(rates, key=lambda k: (rates[k], -k))
    return best, rates[best]


def _tokens(requests: Sequence[Request] | Iterable[Request]) -> int:
    return sum(request.new * request.copies for request in requests)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
