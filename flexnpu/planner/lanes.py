# SPDX-License-Identifier: Apache-2.0
"""What policies with two freely running lanes have in common: the whole device for one phase, cores that may be had."""

from __future__ import annotations

from collections.abc import Sequence

from flexnpu.planner.chunks import chunk, tokens_of
from flexnpu.planner.plan import Alternative, Explanation, Plan, mixed, ms, once, rate, verdict
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, SnapshotError, Split

MOST_TOKENS = 1 << 24  # of an iteration


def whole_device(snapshot: Snapshot, forecaster: PhaseForecaster, budget: int) -> Plan:
    """One phase has nothing to run, so the other has all cores."""
    cores = snapshot.device_cores
    split = Split(cores, cores)
    who = "decode" if snapshot.running else "prefill" if snapshot.prompts else "nobody"

    def explain() -> Explanation:
        prompts = chunk(snapshot, budget - snapshot.running)
        requests = prompts or snapshot.decode
        tokens = snapshot.running + tokens_of(prompts)
        seconds = float(forecaster.alone(requests)[cores]) if tokens else 0.0
        holds = not snapshot.running or seconds <= snapshot.targets.itl
        chosen = mixed(cores, seconds, tokens, verdict(holds), budget)
        return Explanation(f"{who} runs alone, on all {cores} cores: {ms(seconds)}", chosen, (), holds)

    return Plan("aggregated", split, budget, once(explain))


def lanes(snapshot: Snapshot, forecaster: PhaseForecaster, decode: int, budget: int, why: str) -> Plan:
    """Both lanes run freely, decode on that many cores."""
    split = Split(snapshot.device_cores - decode, decode)
    return Plan("split", split, budget, once(lambda: explain_lanes(snapshot, forecaster, split, budget, why)), steps=0)


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
    chosen = Alternative("split", split, 0, prefill, decode, total, verdict(holds), budget)
    reason = f"{why}: {split.prefill} cores for prefill ({ms(prefill)}), {split.decode} for decode ({ms(decode)})"
    return Explanation(reason, chosen, (), holds)


def nearest(allowed: Sequence[int], wanted: float) -> int:
    """The allowed core count that is nearest; the smaller of two as near."""
    return min(allowed, key=lambda count: (abs(count - wanted), count))


def need(name: str, value: float, low: float, high: float) -> None:
    """Raises SnapshotError where a policy is set up with a value outside its range."""
    if not low <= value <= high:
        raise SnapshotError(f"{name} is {value}; it must be {low:g} to {high:.10g}")


def need_whole(name: str, value: float | None, high: int, low: int = 1) -> None:
    """The same for a setting that counts something; None is no setting."""
    if value is not None:
        need(name, value, low, high)
        if value != int(value):
            raise SnapshotError(f"{name} is {value}; it must be a whole number")


def need_budget(policy: str, budget: int | None) -> None:
    """The same for the tokens of an iteration. None: the engine's own."""
    need_whole(f"{policy} budget (tokens of an iteration)", budget, MOST_TOKENS)
