# SPDX-License-Identifier: Apache-2.0
"""The most requests that keep both targets: paced iterations, prompts by deadline. docs/planner.md has the reasoning.

An iteration takes as many prompt tokens as the forecast fits under the ITL target (or what running requests have left
of it on average). Where the queue cannot all be on time at that pace, prompts go by deadline, those that would make
others late are put off, and those that are late already come last. Where prompts are pressed and decode takes most of
such an iteration, parted cores may run more of the queue: a longer prefill iteration beside k decode steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from flexnpu._native import Line
from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load
from flexnpu.planner.lanes import MOST_TOKENS, need, need_whole
from flexnpu.planner.plan import Alternative, Explanation, Looks, Plan, mixed, ms, once, rate, verdict
from flexnpu.planner.queue import Now
from flexnpu.planner.rounds import Bounds, Round, best_round
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split

_NEAR, _AIM = 0.98, 0.99  # of the limit: near enough to stop searching; what the search aims at
_LEAST_STEP, _LEAST = 16.0, 1e-9  # tokens; of what is divided by
_TRIES = 3
# Bandwidth saturates before all cores use it: of the cores that decode would need if its time went with them, the part
# that it needs at the least. Prefill's rate is at most what is left.
_FEWEST = 0.6


@dataclass(frozen=True, slots=True)
class Goodput:
    """floor: tokens of prompts that every iteration takes, so that decode never starves them.

    bank: in ITL targets, the most that running requests' credit lengthens an iteration when prompts are pressed.
    breath: of the TTFT target, the longest iteration where nothing decodes, so that newcomers are seen in time.
    guard: of an iteration, what a deadline is kept clear of. look: prompts that are put in order.
    part: of the limit, what decode must take by itself before parted cores are looked into; over 1: never.
    long: of the TTFT target, the longest prefill iteration beside decode.
    gain: how much more of the queue a second must run on parted cores; half of it while they are in force.
    """

    floor: int = 64
    bank: float = 1.0
    breath: float = 0.25
    guard: float = 0.5
    look: int = 64
    part: float = 0.6
    long: float = 0.1
    gain: float = 0.15
    name: str = "flexnpu"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.QUEUE

    def __post_init__(self) -> None:
        need_whole("flexnpu floor (tokens of prompts)", self.floor, MOST_TOKENS)
        need_whole("flexnpu look (prompts)", self.look, 1 << 20)
        need("flexnpu bank (ITL targets)", self.bank, 0.0, 1e3)
        need("flexnpu guard (part of an iteration)", self.guard, 0.0, 1e3)
        need("flexnpu breath (part of the TTFT target)", self.breath, 1e-3, 1e3)
        need("flexnpu long (part of the TTFT target)", self.long, 1e-3, 1e3)
        need("flexnpu part (of the limit)", self.part, 0.0, 1e3)
        need("flexnpu gain (part)", self.gain, 0.0, 1e3)

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        cores = snapshot.device_cores
        whole = Split(cores, cores)
        if not snapshot.prompts:
            return Plan("aggregated", whole, snapshot.budget, once(_decode_alone(snapshot, forecaster)))
        now = Now.of(snapshot, forecaster)
        limit, saved = self._pace(snapshot, now)
        queue, guard = now.queue, self.guard * limit
        order, late, side = None, 0, None
        share, slower = self._share(now, limit)
        pressed = not queue.on_time(share, guard)
        if pressed:
            # What decode takes of an iteration stays when it grows.
            pace = (share * limit + saved) / (limit + saved) if saved else share
            order, late, line = queue.order(pace, guard, self.look)
        else:
            line = queue.line()
        pace = limit + saved * pressed
        mix = self._fit(now, pace, line, slower)
        if pressed and self.part * limit < now.alone <= limit:
            side = self._beside(now, snapshot, line, _Against(mix, limit, queue.work()))
        choice = _Choice(mix, side, pace, late, not pressed)
        explain = once(lambda: _explain(snapshot, now, choice))
        if side is not None and side.better:
            return Plan("split", side.round.split, side.round.tokens, explain, side.round.steps, order=order)
        running = int(now.decode.decode_sequences)
        return Plan("aggregated", whole, running + mix.tokens, explain, order=order)

    def _pace(self, snapshot: Snapshot, now: Now) -> tuple[float, float]:
        """Seconds that the next iteration may take, and how many more it may when prompts are pressed."""
        targets = snapshot.targets
        if not now.decode.decode_sequences:
            return self.breath * targets.ttft, 0.0
        limit = max(targets.itl * snapshot.margin - snapshot.overhead, 0.0)
        if targets.each or snapshot.credits is None:
            return limit, 0.0
        bank = self.bank * targets.itl
        # Who is a whole target behind is lost, or nearly; to hurry for it would cost the others their prompts.
        least = _least(np.asarray(snapshot.credits), -targets.itl)
        if least == np.inf:
            least = bank
        return max(limit + min(least, 0.0), 0.0), min(max(least, 0.0), bank)

    def _share(self, now: Now, limit: float) -> tuple[float, float]:
        """Of the device's time, what prompts get in an iteration of this length; and by how much longer they make it
        than they are worth."""
        if not now.decode.decode_sequences:
            return 1.0, 1.0
        tokens = max(self.floor, (limit - now.alone) / now.cost.token)
        prompt = Load.prefill(tokens)
        seconds = now.seconds(prompt)
        return tokens * now.cost.token / seconds, (seconds - now.alone) / now.worth(prompt)

    def _fit(self, now: Now, limit: float, line: Line, slower: float) -> _Mix:
        """The most prompt tokens whose iteration keeps the limit (`floor` where none does)."""
        room = max(now.budget - int(now.decode.decode_sequences), 1)
        floor = min(self.floor, room)
        best: _Mix | None = None
        aim = limit * _AIM - now.alone
        tokens = aim / (now.cost.token * max(slower, _LEAST))
        if tokens > floor:  # a guess that knows nothing of contexts, mended by those that it would take
            load, took = line.take(int(min(tokens, room)))
            tokens = took * aim / (now.worth(load) * max(slower, _LEAST))
        for _ in range(_TRIES):
            wanted = int(min(max(tokens, floor), room))
            load, took = line.take(wanted)
            found = _Mix(took, now.seconds(load), now.worth(load))
            if found.seconds <= limit:
                if best is None or took > best.tokens:
                    best = found
                if took < wanted or took >= room or found.seconds > limit * _NEAR:
                    break
            elif took <= floor:
                return best or found
            # Along the line from decode alone to this; a little short of the limit, so that the next try keeps it.
            tokens = took * aim / max(found.seconds - now.alone, _LEAST)
            if best is not None and tokens < best.tokens + _LEAST_STEP:
                break
        if best is not None:
            return best
        load, took = line.take(floor)
        return _Mix(took, now.seconds(load), now.worth(load))

    def _beside(self, now: Now, snapshot: Snapshot, line: Line, against: _Against) -> _Side | None:
        """Parted cores, weighed against the mixed iteration; None where none comes near."""
        mix, limit, queue = against
        mixed_rate = mix.worth / (mix.seconds + snapshot.overhead)
        in_force = snapshot.current_mode == "split"
        least = mixed_rate * (1.0 + self.gain * (0.5 if in_force else 1.0))
        if least > 1.0 - _FEWEST * now.alone / limit:
            return None
        found = best_round(now, snapshot, line, Bounds(limit, self.long * snapshot.targets.ttft, least))
        if found is None:
            return None
        # There and back: the queue has to be long enough for what it saves to be worth it.
        worth = in_force or queue * (1.0 / mixed_rate - 1.0 / found.rate) > 2.0 * snapshot.switch_seconds
        return _Side(found, mixed_rate, better=found.rate > least and worth)


def _least(values: Floats, above: float) -> float:
    """The least of those over `above`; infinity where there is none."""
    if not len(values):
        return np.inf
    least = values.item(values.argmin())
    if least > above:  # mostly nobody is under it
        return least
    rest = values[values > above]
    return rest.item(rest.argmin()) if len(rest) else np.inf


class _Mix(NamedTuple):
    """The mixed iteration: prompt tokens, its seconds, and the whole device's seconds that those prompts are worth."""

    tokens: int
    seconds: float
    worth: float


class _Against(NamedTuple):
    """limit: of a decode step. queue: seconds of the whole device that all prompts take."""

    mix: _Mix
    limit: float
    queue: float


class _Side(NamedTuple):
    round: Round
    mixed_rate: float
    better: bool


class _Choice(NamedTuple):
    mix: _Mix
    side: _Side | None
    limit: float
    late: int
    on_time: bool


def _explain(snapshot: Snapshot, now: Now, choice: _Choice) -> Explanation:
    running, (tokens, seconds, _), side = int(now.decode.decode_sequences), choice.mix, choice.side
    holds = not running or seconds <= choice.limit
    said = f"{'keeps' if holds else 'misses'} the limit of {ms(choice.limit)}"
    whole = mixed(now.cores, seconds, running + tokens, said, running + tokens)
    queue = "all prompts can be on time" if choice.on_time else f"by deadline, {choice.late} of the prompts come last"
    if side is not None and side.better:
        found, more = side.round, side.round.rate / side.mixed_rate - 1.0
        reason = (
            f"{found.tokens} tokens of prompts on {found.split.prefill} cores take {ms(found.prefill_seconds)} beside "
            f"{found.steps} steps of {running} running on {found.split.decode} ({ms(found.decode_seconds)} each): "
            f"{more:.0%} more of the queue per second than mixed; {queue}"
        )
        return Explanation(reason, _parted(found, running), (whole, _full(snapshot, now)))
    reason = f"{tokens} tokens of prompts beside {running} running take {ms(seconds)} of {ms(choice.limit)}; {queue}"
    others = (_full(snapshot, now),) if side is None else (_parted(side.round, running), _full(snapshot, now))
    return Explanation(reason, whole, others, meets_itl=holds)


def _parted(found: Round, running: int) -> Alternative:
    total = rate(found.tokens + found.steps * running, found.seconds)
    seconds = found.prefill_seconds, found.decode_seconds
    return Alternative("split", found.split, found.steps, *seconds, total, "keeps the limit", found.tokens)


def _full(snapshot: Snapshot, now: Now) -> Alternative:
    """What a fixed budget would do."""
    running = int(now.decode.decode_sequences)
    load, took = now.queue.line().take(max(snapshot.budget - running, 1))
    seconds = now.seconds(load)
    return mixed(now.cores, seconds, running + took, verdict(seconds <= snapshot.targets.itl), running + took)


def _decode_alone(snapshot: Snapshot, forecaster: PhaseForecaster) -> Callable[[], Explanation]:
    def explain() -> Explanation:
        cores = snapshot.device_cores
        decode = forecaster.load(snapshot.decode)
        seconds = float(forecaster.seconds(cores, decode)) if decode.decode_sequences else 0.0
        holds = seconds <= snapshot.targets.itl
        tokens = int(decode.decode_sequences)
        chosen = mixed(cores, seconds, tokens, verdict(holds), tokens)
        return Explanation(f"no prompt waits: decode has all {cores} cores", chosen, meets_itl=holds)

    return explain
