# SPDX-License-Identifier: Apache-2.0
"""Two engines on one device, one per phase: all cores for both by turns, until parted cores are forecast to be better.

Shared in time, decode goes first at operator boundaries. With t_d its step on all cores, w the prefill operator that
it may find running, and L = margin x ITL target - host time, it keeps the target with the part

    s = t_d / (L - w)

of the time, and prefill runs its queue on all cores in the rest: t_q / (1 - s). Parted, `instances` says who has what.
Both keep the target; whoever runs the queue sooner wins. Who is not in force has to keep a target that is shorter by
`band`, and to save more than a switch costs; for parted cores that is there and back, since time is shared again when
a phase falls idle: it leaves all of the time to the other, and needs neither a move nor cores kept for it when it comes
back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, NamedTuple

from flexnpu.forecast.load import Load
from flexnpu.planner.chunks import chunk_load
from flexnpu.planner.instances import best_split
from flexnpu.planner.lanes import need
from flexnpu.planner.plan import Alternative, Explanation, Looks, Mode, Plan, ms, once, rate, verdict
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split

_ROUNDING = 1e-9


class _Side(NamedTuple):
    """One way to run both. seconds: of the queue, and between two steps of decode, a prefill operator included."""

    mode: Mode
    split: Split
    prefill_seconds: float
    decode_seconds: float
    holds: bool
    weight: float = 0.5  # decode's part of the time, where that is shared

    def under(self, limit: float) -> _Side:
        """Judged by another limit than the one it was sought under."""
        return self._replace(holds=self.decode_seconds <= limit + _ROUNDING)

    def plan(self, snapshot: Snapshot, explain: Callable[[], Explanation]) -> Plan:
        return Plan(self.mode, self.split, snapshot.budget, once(explain), steps=0, weight=self.weight)


@dataclass(frozen=True, slots=True)
class Colocated:
    """operator: part of a prefill iteration that its longest operator takes.
    step: decode's part of the time is a multiple of it, so that not every token moves it. least: of either phase.
    """

    operator: float = 0.02
    step: float = 0.05
    least: float = 0.05
    name: str = "co-located"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.SPLIT

    def __post_init__(self) -> None:
        need("co-located operator (part of a prefill iteration)", self.operator, 0.0, 1.0)
        need("co-located step (part of the time)", self.step, 0.001, 0.25)
        need("co-located least (part of the time)", self.least, 0.01, 0.25)

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        work = forecaster.load(snapshot.prefill), forecaster.load(snapshot.decode)
        if not work[0].tokens or not work[1].tokens:
            return self._one_idle(snapshot, work, forecaster)
        in_force = snapshot.current_mode if snapshot.current_mode in ("shared", "split") else None
        # Who is not in force has a shorter target to keep.
        shorter = snapshot.margin * (1.0 - snapshot.band)
        shared = self._shared(snapshot, work, forecaster, shorter if in_force == "split" else snapshot.margin)
        parted = _parted(snapshot, work, forecaster, shorter if in_force == "shared" else snapshot.margin)
        limit = _limit(snapshot, snapshot.margin)
        chosen, other = (each.under(limit) for each in _choose(snapshot, shared, parted, in_force))
        return chosen.plan(snapshot, lambda: _explain(snapshot, chosen, other))

    def _shared(self, snapshot: Snapshot, work: tuple[Load, Load], forecaster: PhaseForecaster, margin: float) -> _Side:
        cores, limit = snapshot.device_cores, _limit(snapshot, margin)
        queue = float(forecaster.seconds(cores, work[0])) if work[0].tokens else 0.0
        alone = float(forecaster.seconds(_replayed(snapshot), work[1])) if work[1].tokens else 0.0
        wait = self._operator(snapshot, forecaster) if queue and alone else 0.0
        room = limit - wait
        needed = alone / room if room > alone else 1.0
        weight = self._weight(snapshot, needed)
        # Beside nobody, all of the time is its own.
        decode = alone / weight + wait if queue else alone
        prefill = queue / (1.0 - weight) if alone else queue
        holds = not alone or decode <= limit + _ROUNDING
        return _Side("shared", Split(cores, cores), prefill, decode, holds, weight)

    def _operator(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> float:
        """Seconds of the longest one of the next prefill iteration."""
        chunk = chunk_load(snapshot, forecaster, snapshot.budget)
        return self.operator * float(forecaster.seconds(snapshot.device_cores, chunk))

    def _weight(self, snapshot: Snapshot, needed: float) -> float:
        """The next multiple of `step`, or what is in force where that is enough and no more than one step too much."""
        least, most = self.least, 1.0 - self.least
        weight = min(max(ceil(needed / self.step - _ROUNDING) * self.step, least), most)
        now = snapshot.current_weight if snapshot.current_mode == "shared" else None
        if now is not None and least <= now <= most and needed <= now <= weight + self.step + _ROUNDING:
            return now
        return weight

    def _one_idle(self, snapshot: Snapshot, work: tuple[Load, Load], forecaster: PhaseForecaster) -> Plan:
        now = snapshot.current_weight if snapshot.current_mode == "shared" else None
        shared = self._shared(snapshot, work, forecaster, snapshot.margin)
        if now is not None and self.least <= now <= 1.0 - self.least:
            shared = shared._replace(weight=now)
        elif not work[1].tokens:
            shared = shared._replace(weight=0.5)  # nobody knows yet what decode will need
        chosen = _stays_parted(snapshot, work, shared, forecaster) or shared
        return chosen.plan(snapshot, lambda: _explain_idle(snapshot, chosen, shared))


def _limit(snapshot: Snapshot, margin: float) -> float:
    return max(snapshot.targets.itl * margin - snapshot.overhead, 0.0)


def _replayed(snapshot: Snapshot) -> int:
    """Cores that a decode step uses in its turn: a graph keeps those it was captured with."""
    return max((count for count in snapshot.graphs if count <= snapshot.device_cores), default=snapshot.device_cores)


def _parted(snapshot: Snapshot, work: tuple[Load, Load], forecaster: PhaseForecaster, margin: float) -> _Side:
    limit = _limit(snapshot, margin)
    split = best_split(snapshot, work, forecaster, limit / snapshot.targets.itl)
    seconds = forecaster.beside(split.prefill, work[0], split.decode, work[1])
    prefill, decode = float(seconds[0]), float(seconds[1])
    return _Side("split", split, prefill, decode, decode <= limit + _ROUNDING)


def _choose(snapshot: Snapshot, shared: _Side, parted: _Side, in_force: str | None) -> tuple[_Side, _Side]:
    """Who is chosen, and the other."""
    if in_force is None:
        best = min((shared, parted), key=lambda side: (not side.holds, side.prefill_seconds))
        if not best.holds:
            best = min((shared, parted), key=lambda side: side.decode_seconds)
        return best, parted if best is shared else shared
    now, other = (shared, parted) if in_force == "shared" else (parted, shared)
    if now.holds:
        cost = snapshot.switch_seconds * (2.0 if in_force == "shared" else 1.0)
        better = other.holds and now.prefill_seconds - other.prefill_seconds > cost
    else:
        keeps = other.under(_limit(snapshot, snapshot.margin)).holds
        better = keeps or other.decode_seconds < now.decode_seconds * (1.0 - snapshot.band)
    return (other, now) if better else (now, other)


def _stays_parted(
    snapshot: Snapshot, work: tuple[Load, Load], shared: _Side, forecaster: PhaseForecaster
) -> _Side | None:
    """Parted cores in force, where the whole device would bring the phase that has work less than a switch costs."""
    split = snapshot.current
    if snapshot.current_mode != "split" or split is None or split.decode not in snapshot.decode_cores:
        return None
    prefill = float(forecaster.seconds(split.prefill, work[0])) if work[0].tokens else 0.0
    decode = float(forecaster.seconds(split.decode, work[1])) if work[1].tokens else 0.0
    gain = prefill - shared.prefill_seconds + decode - shared.decode_seconds
    holds = not decode or decode <= _limit(snapshot, snapshot.margin)
    if not (prefill or decode) or gain > snapshot.switch_seconds or not holds:
        return None
    return _Side("split", split, prefill, decode, holds)


def _explain(snapshot: Snapshot, chosen: _Side, other: _Side) -> Explanation:
    reason = _shared_reason(snapshot, chosen, other) if chosen.mode == "shared" else _split_reason(chosen, other)
    if not chosen.holds:
        reason += f"; neither keeps {_limit_text(snapshot)}, and this comes nearest"
    if chosen.prefill_seconds > snapshot.targets.ttft:
        late = f"the last prompt in the queue is forecast to take {ms(chosen.prefill_seconds)}"
        reason += f"; {late}, over the TTFT target of {ms(snapshot.targets.ttft)}"
    return Explanation(reason, _told(snapshot, chosen), (_told(snapshot, other),), chosen.holds)


def _shared_reason(snapshot: Snapshot, chosen: _Side, other: _Side) -> str:
    decode, rest = chosen.weight, 1.0 - chosen.weight
    return (
        f"time is shared: with {decode:.0%} of it on all {snapshot.device_cores} cores decode makes a step every "
        f"{ms(chosen.decode_seconds)}, and the queue takes {ms(chosen.prefill_seconds)} in the other {rest:.0%}; on "
        f"parted cores, {_cores(other)}, it would take {ms(other.prefill_seconds)}{_unless(other)}"
    )


def _split_reason(chosen: _Side, other: _Side) -> str:
    return (
        f"cores are parted, {_cores(chosen)}: decode makes a step in {ms(chosen.decode_seconds)} and the queue takes "
        f"{ms(chosen.prefill_seconds)}; shared in time, with {other.weight:.0%} of it for decode, it would take "
        f"{ms(other.prefill_seconds)}{_unless(other)}"
    )


def _cores(side: _Side) -> str:
    return f"{side.split.prefill} for prefill and {side.split.decode} for decode"


def _unless(side: _Side) -> str:
    return "" if side.holds else f" and decode {ms(side.decode_seconds)} for a step"


def _limit_text(snapshot: Snapshot) -> str:
    return f"{ms(snapshot.targets.itl * snapshot.margin)} ({snapshot.margin:.0%} of the ITL target)"


def _explain_idle(snapshot: Snapshot, chosen: _Side, shared: _Side) -> Explanation:
    who, other = ("prefill", "decode") if snapshot.running else ("decode", "prefill")
    if not snapshot.running and not snapshot.prompts:
        reason = f"both phases are idle: time is shared, so whoever comes has all {snapshot.device_cores} cores at once"
    elif chosen.mode == "split":
        saves = chosen.prefill_seconds + chosen.decode_seconds - shared.prefill_seconds - shared.decode_seconds
        cost = ms(snapshot.switch_seconds)
        reason = f"{who} is idle: all cores would save {other} {ms(max(saves, 0.0))} and cost {cost}"
    else:
        reason = (
            f"{who} is idle: {other} has all of the time on all {snapshot.device_cores} cores; {who} gets its part at "
            "once when it comes back, without a move and without cores kept for it"
        )
    if not chosen.holds:
        reason += f"; decode takes {ms(chosen.decode_seconds)} even so, over {_limit_text(snapshot)}"
    others = () if chosen is shared else (_told(snapshot, shared),)
    return Explanation(reason, _told(snapshot, chosen), others, chosen.holds)


def _told(snapshot: Snapshot, side: _Side) -> Alternative:
    prefill, decode = side.prefill_seconds, side.decode_seconds
    total = rate(snapshot.waiting_tokens, prefill) + rate(snapshot.running, decode)
    return Alternative(side.mode, side.split, 0, prefill, decode, total, verdict(side.holds), snapshot.budget)
