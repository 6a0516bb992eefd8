# SPDX-License-Identifier: Apache-2.0
"""Two engines on one device, one per phase: nothing can run mixed, so only the split is to be chosen.

Token rate under the ITL target, as in duetserve, comes down to this: decode gets the fewest cores that hold the target
beside the prefill, which has the rest. Closed here: contention between the phases, a margin, and the cost of a move.
The answer is monotone: for the same rest, a bigger decode batch never gets fewer cores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load
from flexnpu.planner.plan import Alternative, Explanation, Looks, Plan, ms, once, rate
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split


class _Choice(NamedTuple):
    decode: int
    reason: Callable[[], str]
    meets_itl: bool = True


_Pace = tuple[Floats, float]  # decode's seconds by cores; the part of the target that may be planned for


@dataclass(frozen=True, slots=True)
class Instances:
    """Cores for the prefill engine and for the decode engine."""

    name: str = "instances"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.SPLIT

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        work = forecaster.load(snapshot.prefill), forecaster.load(snapshot.decode)
        seconds = _forecasts(snapshot, work, forecaster)
        choice = _choice(snapshot, work, (seconds[1], snapshot.margin), forecaster)
        split = Split(snapshot.device_cores - choice.decode, choice.decode)
        return Plan("split", split, snapshot.budget, once(lambda: _explain(snapshot, seconds, choice)), steps=0)


def best_split(snapshot: Snapshot, work: tuple[Load, Load], forecaster: PhaseForecaster, margin: float) -> Split:
    """What the policy has for prefill and decode (`work`), with another part of the ITL target to plan for."""
    _, seconds = _forecasts(snapshot, work, forecaster)
    decode = _choice(snapshot, work, (seconds, margin), forecaster).decode
    return Split(snapshot.device_cores - decode, decode)


def _choice(snapshot: Snapshot, work: tuple[Load, Load], pace: _Pace, forecaster: PhaseForecaster) -> _Choice:
    if not work[1].tokens:
        return _decode_idle(snapshot)
    if not work[0].tokens:
        return _prefill_idle(snapshot, pace)
    return _both_busy(snapshot, pace, work[0], forecaster)


def _explain(snapshot: Snapshot, seconds: tuple[Floats, Floats], choice: _Choice) -> Explanation:
    candidates = _candidates(snapshot, *seconds)
    chosen = next(each for each in candidates if each.split.decode == choice.decode)
    reason = choice.reason()
    if chosen.prefill_seconds > snapshot.targets.ttft and snapshot.prompts:
        late = f"the last prompt in the queue is forecast to take {ms(chosen.prefill_seconds)}"
        reason += f"; {late}, over the TTFT target of {ms(snapshot.targets.ttft)}"
    return Explanation(reason, chosen, tuple(each for each in candidates if each is not chosen), choice.meets_itl)


def _forecasts(snapshot: Snapshot, work: tuple[Load, Load], forecaster: PhaseForecaster) -> tuple[Floats, Floats]:
    """Both phases' seconds by decode cores; an idle phase takes none."""
    if work[0].tokens and work[1].tokens:
        return forecaster.split(*work, snapshot.device_cores)
    return forecaster.alone(work[0])[snapshot.device_cores :: -1], forecaster.alone(work[1])


def _decode_idle(snapshot: Snapshot) -> _Choice:
    # When both are idle the next work is a prompt, so prefill waits for it with all it may have.
    who = "decode is idle" if snapshot.prefill else "both phases are idle and a prompt comes first"
    least = snapshot.decode_cores[0]
    return _Choice(least, lambda: f"{who}: prefill gets all but the {least} that decode keeps")


def _prefill_idle(snapshot: Snapshot, pace: _Pace) -> _Choice:
    needed, holds = _fewest(snapshot, *pace)
    keeps = max(snapshot.minima.prefill, snapshot.idle_reserve)
    spare = [count for count in snapshot.decode_cores if count <= snapshot.device_cores - keeps]
    cores = max(needed, spare[-1] if spare else needed)
    kept = snapshot.device_cores - cores
    if not holds:
        return _Choice(cores, lambda: _cannot(snapshot, pace[0]), meets_itl=False)
    return _Choice(cores, lambda: f"prefill is idle: decode gets all but the {kept} cores kept for prefill")


def _both_busy(snapshot: Snapshot, pace: _Pace, queue: Load, forecaster: PhaseForecaster) -> _Choice:
    decode_seconds, margin = pace
    needed, holds = _fewest(snapshot, decode_seconds, margin)
    if not holds:
        return _Choice(needed, lambda: _cannot(snapshot, pace[0]), meets_itl=False)
    now = snapshot.current.decode if snapshot.current else None
    if now is None or now < needed or now not in snapshot.decode_cores:
        why = "is the fewest cores that keep decode under"
        return _Choice(needed, lambda: f"{needed} {why} {_limit(snapshot)}; prefill gets the rest")
    enough, _ = _fewest(snapshot, decode_seconds, margin * (1 - snapshot.band))
    if now <= enough:
        why = "and is too near to it to give any back"
        return _Choice(now, lambda: f"decode holds {_limit(snapshot)} on its {now} cores {why}")
    # Alone on the device, not beside decode: a gain that looks at the decode batch would not be monotone in it.
    before, after = (forecaster.seconds(snapshot.device_cores - decode, queue) for decode in (now, enough))
    gain, cost = float(before - after), snapshot.switch_seconds
    if gain <= cost:
        return _Choice(now, lambda: f"a move to {enough} would save prefill {ms(gain)} and cost {ms(cost)}")
    why = "cores keep decode under"
    return _Choice(enough, lambda: f"{enough} {why} {_limit(snapshot)}; the others save prefill {ms(gain)}")


def _limit(snapshot: Snapshot) -> str:
    return f"{ms(snapshot.targets.itl * snapshot.margin)} ({snapshot.margin:.0%} of the ITL target)"


def _fewest(snapshot: Snapshot, decode_seconds: Floats, margin: float) -> tuple[int, bool]:
    """Fewest cores that keep decode under that part of the target; all it may have, and False, when none do."""
    limit = snapshot.targets.itl * margin
    allowed = snapshot.decode_cores
    holds = decode_seconds[allowed[0] : allowed[-1] + 1] <= limit
    if snapshot.graphs:
        holds = holds[[cores - allowed[0] for cores in allowed]]
    place = int(holds.argmax())
    return (allowed[place], True) if holds[place] else (allowed[-1], False)


def _cannot(snapshot: Snapshot, decode_seconds: Floats) -> str:
    most = snapshot.decode_cores[-1]
    return (
        f"the ITL target of {ms(snapshot.targets.itl)} cannot be held with margin: decode takes "
        f"{ms(float(decode_seconds[most]))} even on {most} cores, all it may have; it gets them"
    )


def _candidates(snapshot: Snapshot, prefill_seconds: Floats, decode_seconds: Floats) -> list[Alternative]:
    prefill, decode = prefill_seconds.tolist(), decode_seconds.tolist()
    tokens = snapshot.waiting_tokens, snapshot.running
    limit = snapshot.targets.itl * snapshot.margin
    found = []
    for cores in snapshot.decode_cores:
        seconds = prefill[cores], decode[cores]
        total = rate(tokens[0], seconds[0]) + rate(tokens[1], seconds[1])
        steps = max(1, int(seconds[0] / seconds[1])) if seconds[1] else 1
        verdict = "holds the ITL target" if seconds[1] <= limit else "misses the ITL target"
        split = Split(snapshot.device_cores - cores, cores)
        found.append(Alternative("split", split, steps, *seconds, total, verdict))
    return found
