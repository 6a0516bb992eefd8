# SPDX-License-Identifier: Apache-2.0
"""The most requests that keep both targets: paced iterations, prompts by deadline. docs/planner.md has the reasoning.

An iteration takes as many prompt tokens as the forecast fits under the ITL target (or what running requests have left
of it on average). Where the queue cannot all be on time at that pace, prompts go by deadline, those that would make
others late are put off, and those that are late already come last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from flexnpu.forecast.batch import Batch, Floats
from flexnpu.forecast.load import Load
from flexnpu.planner import deadlines
from flexnpu.planner.plan import Alternative, Explanation, Looks, Plan, mixed, ms, once, verdict
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split

_NEAR = 0.98  # of the limit: near enough to stop searching
_LEAST_STEP = 16.0  # tokens
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Goodput:
    """floor: tokens of prompts that every iteration takes, so that decode never starves them.

    bank: in ITL targets, the most that running requests' credit lengthens an iteration when prompts are pressed.
    breath: of the TTFT target, the longest iteration where nothing decodes, so that newcomers are seen in time.
    guard: of an iteration, what a deadline is kept clear of. look: prompts that are put in order.
    """

    floor: int = 64
    bank: float = 1.0
    breath: float = 0.25
    guard: float = 0.5
    look: int = 64
    name: str = "flexnpu"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.ALL

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        cores = snapshot.device_cores
        whole = Split(cores, cores)
        if not snapshot.prompts:
            return Plan("aggregated", whole, snapshot.budget, once(_decode_alone(snapshot, forecaster)))
        now = _Now.of(snapshot, forecaster)
        limit, saved = self.pace(snapshot)
        queue = deadlines.Queue(now.work(), now.slack - self.guard * limit)
        order: tuple[int, ...] | None = None
        late = 0
        if not deadlines.on_time(queue, self._share(now, limit)):
            limit += saved
            found = deadlines.order(queue, self._share(now, limit), self.look)
            order, late = (*found.kept, *found.late), len(found.late)
        tokens, seconds = self._fit(now, limit, range(len(now.new)) if order is None else order)

        def explain() -> Explanation:
            return _explain(snapshot, now, _Choice(tokens, seconds, limit, late, order is None))

        return Plan("aggregated", whole, int(now.decode.decode_sequences) + tokens, once(explain), order=order)

    def pace(self, snapshot: Snapshot) -> tuple[float, float]:
        """Seconds that the next iteration may take, and how many more it may when prompts are pressed."""
        targets = snapshot.targets
        if not snapshot.running:
            return self.breath * targets.ttft, 0.0
        limit = max(targets.itl * snapshot.margin - snapshot.overhead, 0.0)
        if targets.each or snapshot.credits is None:
            return limit, 0.0
        credits = np.asarray(snapshot.credits, dtype=np.float64)
        # Who is a whole target behind is lost, or nearly; to hurry for it would cost the others their prompts.
        counted = credits[(credits > -targets.itl) & np.isfinite(credits)]
        bank = self.bank * targets.itl
        least = float(counted.min()) if counted.size else bank
        return max(limit + min(least, 0.0), 0.0), min(max(least, 0.0), bank)

    def _share(self, now: _Now, limit: float) -> float:
        """Of the device's time, what prompts get in an iteration of this length."""
        if not now.decode.decode_sequences:
            return 1.0
        tokens = max(self.floor, (limit - now.alone) / now.cost.token)
        return tokens * now.cost.token / now.seconds(Load.prefill(tokens, 0.0))

    def _fit(self, now: _Now, limit: float, places: Sequence[int]) -> tuple[int, float]:
        """The most prompt tokens whose iteration keeps the limit (`floor` where none does), and its seconds."""
        room = max(now.budget - int(now.decode.decode_sequences), 1)
        floor = min(self.floor, room)
        best, best_seconds = 0, 0.0
        tokens = (limit - now.alone) / now.cost.token
        for _ in range(_TRIES):
            wanted = int(min(max(tokens, floor), room))
            load, took = now.take(places, wanted)
            seconds = now.seconds(load)
            if seconds <= limit and took > best:
                best, best_seconds = took, seconds
                if took < wanted or took >= room or seconds > limit * _NEAR:
                    break
            step = (limit - seconds) / now.cost.token
            tokens = took + (step if abs(step) >= _LEAST_STEP else _LEAST_STEP * (1 if step > 0 else -1))
            if tokens <= best:
                break
        if best:
            return best, best_seconds
        load, took = now.take(places, floor)
        return took, now.seconds(load)


class _Cost(NamedTuple):
    """A prompt's seconds on the whole device: by token, and by query-key pair."""

    token: float
    pair: float

    @classmethod
    def of(cls, forecaster: PhaseForecaster, cores: int) -> _Cost:
        short = forecaster.seconds(cores, Load.prefill(1024, 0, logits=0))
        far = forecaster.seconds(cores, Load.prefill(1024, 8192, logits=0))
        long = forecaster.seconds(cores, Load.prefill(2048, 0, logits=0))
        pair = (far - short) / (1024 * 8192)
        token = (long - short - pair * (2048**2 - 1024**2) / 2) / 1024
        return cls(max(token, 1e-9), max(pair, 0.0))


@dataclass(frozen=True, slots=True)
class _Now:
    """A snapshot as columns, with what running requests take alone."""

    forecaster: PhaseForecaster
    cores: int
    budget: int
    decode: Load
    alone: float
    cost: _Cost
    new: Floats
    cached: Floats
    slack: Floats

    @classmethod
    def of(cls, snapshot: Snapshot, forecaster: PhaseForecaster) -> _Now:
        cores = snapshot.device_cores
        decode = forecaster.load(snapshot.decode)
        alone = forecaster.seconds(cores, decode) if decode.decode_sequences else 0.0
        prompts = Batch.of(snapshot.prefill)
        waits = np.zeros(len(prompts.new)) if snapshot.waits is None else np.asarray(snapshot.waits, dtype=np.float64)
        cost = _Cost.of(forecaster, cores)
        slack = snapshot.targets.ttft - waits
        return cls(forecaster, cores, snapshot.budget, decode, alone, cost, prompts.new, prompts.cached, slack)

    def seconds(self, prompts: Load) -> float:
        return float(self.forecaster.seconds(self.cores, self.decode.plus(prompts)))

    def work(self) -> Floats:
        return self.new * (self.cost.token + self.cost.pair * (self.cached + 0.5 * self.new))

    def take(self, places: Sequence[int], tokens: int) -> tuple[Load, int]:
        """The first `tokens` of the prompts in this order."""
        pairs = seen = sequences = logits = 0.0
        left = tokens
        for place in places:
            new, cached = float(self.new[place]), float(self.cached[place])
            logits += new <= left
            new = min(new, left)
            pairs += new * cached + new * (new + 1) / 2
            seen += new + cached
            sequences += 1
            left -= int(new)
            if left < 1:
                break
        took = tokens - left
        return Load(took, sequences, pairs, seen, 0.0, 0.0, logits), took


class _Choice(NamedTuple):
    tokens: int
    seconds: float
    limit: float
    late: int
    on_time: bool


def _explain(snapshot: Snapshot, now: _Now, choice: _Choice) -> Explanation:
    running = int(now.decode.decode_sequences)
    holds = not running or choice.seconds <= choice.limit
    budget, seconds = running + choice.tokens, choice.seconds
    chosen = mixed(
        now.cores, seconds, budget, f"{'keeps' if holds else 'misses'} the limit of {ms(choice.limit)}", budget
    )
    queue = "all prompts can be on time" if choice.on_time else f"by deadline, {choice.late} of the prompts come last"
    reason = (
        f"{choice.tokens} tokens of prompts beside {running} running take {ms(seconds)} of {ms(choice.limit)}; {queue}"
    )
    return Explanation(reason, chosen, (_full(snapshot, now),), meets_itl=holds)


def _full(snapshot: Snapshot, now: _Now) -> Alternative:
    """What a fixed budget would do."""
    running = int(now.decode.decode_sequences)
    load, took = now.take(range(len(now.new)), max(snapshot.budget - running, 1))
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
