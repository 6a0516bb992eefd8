# SPDX-License-Identifier: Apache-2.0
"""Both phases side by side: one long prefill iteration on some cores, k decode steps run ahead on the others.

DuetServe's other mode, chosen by another rule. There S_d and k maximise the tokens of both phases; here decode gets
about the fewest cores that keep its pace beside that very prefill (contention is in the forecast), and what counts is
how much of the queue a second runs.
"""

from __future__ import annotations

from bisect import bisect_left
from math import ceil, floor
from typing import NamedTuple

from flexnpu._native import Line
from flexnpu.planner.queue import Now
from flexnpu.planner.snapshot import Snapshot, Split

_TRIES = 2  # core counts; each is a forecast of both phases
_BESIDE = 1.1  # times that a decode step takes beside prefill, where the search begins


class Round(NamedTuple):
    """A candidate. rate: seconds of the whole device's prompt work that are done in one."""

    split: Split
    tokens: int
    steps: int
    prefill_seconds: float
    decode_seconds: float
    seconds: float
    rate: float


class Bounds(NamedTuple):
    """limit: seconds that a decode step may take. longest: those of a prefill iteration. least: a rate; a candidate
    that cannot come to it need not be looked into."""

    limit: float
    longest: float
    least: float


def best_round(now: Now, snapshot: Snapshot, line: Line, bounds: Bounds) -> Round | None:
    """The candidate, or None where no split keeps the limit or comes to the rate."""
    allowed, limit, cores = snapshot.decode_cores, bounds.limit, now.cores
    # As if time went with cores: more than enough alone. From there to what is about enough beside prefill.
    decode = min(ceil(cores * now.alone / limit), allowed[-1])
    wanted = decode * float(now.forecaster.seconds(decode, now.decode)) * _BESIDE / limit
    place = min(bisect_left(allowed, ceil(wanted)), len(allowed) - 1)
    share = (cores - allowed[place]) / cores
    tokens = max(1, min(snapshot.budget, int(bounds.longest * share / now.cost.token)))
    load, took = line.take(tokens)
    worth = now.worth(load)
    # By itself on that many cores prefill is quicker than in any candidate.
    if worth < bounds.least * float(now.forecaster.seconds(cores - allowed[place], load)):
        return None
    best = None
    for _ in range(_TRIES):
        decode = allowed[place]
        both = now.forecaster.beside(cores - decode, load, decode, now.decode)
        if both[1] <= limit:
            best = decode, both
            break
        place = bisect_left(allowed, max(decode + 1, ceil(decode * both[1] / limit)))
        if place == len(allowed):
            return None
    if best is None:
        return None
    decode, both = best
    return _round(Split(cores - decode, decode), (took, worth), both, (limit, snapshot, now.decode.decode_sequences))


def _round(
    split: Split, prompts: tuple[int, float], both: tuple[float, float], rules: tuple[float, Snapshot, float]
) -> Round | None:
    """Of prompts (tokens, and what they are worth) with these seconds of both phases, cut to end with a decode step:
    who is done first would only wait."""
    (tokens, worth), (prefill, decode), (limit, snapshot, running) = prompts, both, rules
    steps = snapshot.ahead(max(1, floor(prefill / decode)), running)
    part = min(1.0, steps * decode / prefill)
    tokens = max(1, int(tokens * part))
    prefill *= part
    if prefill / steps > limit:
        return None
    seconds = max(prefill, steps * decode) + snapshot.overhead
    return Round(split, tokens, steps, prefill, decode, seconds, worth * part / seconds)
