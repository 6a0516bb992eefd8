# SPDX-License-Identifier: Apache-2.0
"""DuetServe (arXiv 2511.04791): one engine that runs both phases, mixed while it can, split while it must.

Mixed on all cores while that iteration keeps the ITL target. Otherwise S_d cores for decode, S_p = S - S_d for prefill,
and k decode steps per prefill iteration, to maximise (k * n_d + n_p) / max(k * t_d(S_d), t_p(S_p)) subject to
t_d(S_d) <= target.
As published: no margin, no contention between the phases, no cost of a switch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load
from flexnpu.planner.chunks import chunk_load
from flexnpu.planner.lanes import need_budget, need_whole
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

    def __post_init__(self) -> None:
        need_budget("duetserve", self.budget)
        need_whole("duetserve step (cores)", self.step, 4096)

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        """Mixed or split, for the next iteration."""
        budget, cores, target = self.budget or snapshot.budget, snapshot.device_cores, snapshot.targets.itl
        decode = forecaster.load(snapshot.decode)
        prompts = chunk_load(snapshot, forecaster, budget - decode.tokens)
        both = decode.plus(prompts)
        seconds = float(forecaster.seconds(cores, both)) if both.tokens else 0.0
        if not decode.tokens or not prompts.tokens or seconds <= target:
            explain = once(lambda: _stays_mixed(snapshot, _whole(snapshot, both, seconds)))
            return Plan("aggregated", Split(cores, cores), budget, explain)
        allowed = snapshot.decode_cores
        # numpy counts a range by itself several times as quickly as it reads one.
        tried = np.arange(allowed.start, allowed.stop, self.step) if isinstance(allowed, range) else np.array(allowed)
        splits = Splits.of(cores, tried, (prompts, decode), forecaster)
        feasible = splits.decode_seconds <= target
        if feasible.any():
            place = int(np.where(feasible, splits.tokens_per_second, -1.0).argmax())
        else:
            place = int(splits.decode_seconds.argmin())
        explain = once(lambda: _is_split(snapshot, _whole(snapshot, both, seconds), place, splits.alternatives(target)))
        count = tried.item(place)
        steps = snapshot.ahead(int(splits.steps[place]), decode.tokens)
        return Plan("split", Split(cores - count, count), int(prompts.tokens), explain, steps)


@dataclass(frozen=True, eq=False, slots=True)
class Splits:
    """Candidates as columns, by rising decode cores."""

    device_cores: int
    decode_cores: npt.NDArray[np.int64]
    prefill_seconds: Floats
    decode_seconds: Floats
    steps: Floats
    tokens_per_second: Floats

    @classmethod
    def of(
        cls,
        device_cores: int,
        decode_cores: npt.NDArray[np.int64],
        loads: tuple[Load, Load],
        forecaster: PhaseForecaster,
    ) -> Splits:
        """What each gives when prefill and decode (`loads`) run on it as if alone, k at its best."""
        prefill, decode = forecaster.alone(loads[0])[device_cores - decode_cores], forecaster.alone(loads[1])
        decode = decode[decode_cores]
        steps, rates = best_steps((loads[0].tokens, loads[1].tokens), (prefill, decode))
        return cls(device_cores, decode_cores, prefill, decode, steps, rates)

    def alternatives(self, target: float) -> list[Alternative]:
        columns = (self.decode_cores, self.steps, self.prefill_seconds, self.decode_seconds, self.tokens_per_second)
        return [
            Alternative(
                "split",
                Split(self.device_cores - cores, cores),
                int(steps),
                prefill,
                decode,
                rate,
                verdict(decode <= target),
            )
            for cores, steps, prefill, decode, rate in zip(*(column.tolist() for column in columns), strict=True)
        ]


def best_steps(tokens: tuple[float, float], seconds: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """k and its token rate: (k n_d + n_p) / max(k t_d, t_p) rises until decode takes as long as prefill, then falls."""
    prefill, decode = seconds
    low = np.maximum(1.0, np.floor(prefill / decode))
    # At the lower of the two prefill is what is waited for, unless decode takes longer even once.
    first = (low * tokens[1] + tokens[0]) / np.maximum(low * decode, prefill)
    high = low + 1.0
    second = (high * tokens[1] + tokens[0]) / np.maximum(high * decode, prefill)
    more = second > first
    return np.where(more, high, low), np.where(more, second, first)


def _whole(snapshot: Snapshot, both: Load, seconds: float) -> Alternative:
    return mixed(snapshot.device_cores, seconds, both.tokens, verdict(seconds <= snapshot.targets.itl))


def _stays_mixed(snapshot: Snapshot, whole: Alternative) -> Explanation:
    reason = f"the iteration takes {ms(whole.decode_seconds)} on all {snapshot.device_cores} cores"
    if snapshot.running:
        reason += f"; the ITL target is {ms(snapshot.targets.itl)}"
    holds = not snapshot.running or whole.decode_seconds <= snapshot.targets.itl
    return Explanation(reason, whole, (), holds)


def _is_split(snapshot: Snapshot, whole: Alternative, place: int, splits: list[Alternative]) -> Explanation:
    target, best = snapshot.targets.itl, splits[place]
    beaten = (whole, *splits[:place], *splits[place + 1 :])
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
