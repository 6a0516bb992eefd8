# SPDX-License-Identifier: Apache-2.0
"""What two engines cost each other, and what turns cost, where the forecast does not know it.

The forecast has an iteration on a part of the cores, and beside another one. It does not have this host, on which a
turn's first operator comes late and each launch beside a higher priority waits for an event, nor what the device's L2
holds by then, nor that an operator is not cut off where a slice of time ends, which is worth more to who has long ones:
to iterations of many prompts. So the engines are asked something before the runs, once for each way to run both, and
the simulator the same: how long an iteration takes while the other engine is idle, and, with requests as a load has
them and as many at once as it has in all, while it is at work. What is between the two goes into the settings of the
simulator. Pure: who asks the engines is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from statistics import fmean

from flexnpu.experiment.calibrate import PROBE, Pace, pace_of
from flexnpu.experiment.report import Served
from flexnpu.experiment.stack import MAX_LEN, TOKEN_BUDGET, StackError
from flexnpu.simulator import Arrival, EngineConfig, Phases

_ALONE = 3  # times, one after another
_RUNNING = 4  # requests that decode meanwhile
_ITERATIONS = 4  # of prompts: as many at once as a load has in all, up to so many iterations, or several times fewer
_LEAST_TOKENS = TOKEN_BUDGET // 4  # of prompts at once, so that some steps of decode lie beside them
_SETTLED = 0.1  # device seconds from the last one's first token to the first prompt
# Times what the simulator says of how long they take to begin, and how long they must go on: first, and where that was
# too short.
_MORE = (1.5, 4.0)
_ROUNDS = 3  # of the simulator, each told what came of the one before


class ApartError(StackError):
    """Prompts and requests that decode did not run beside each other."""


Ask = Callable[[Sequence[Arrival]], Sequence[Served]]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run both engines. live: asks them; simulated: asks the simulator, under these settings."""

    live: Ask
    simulated: Callable[[Sequence[Arrival], EngineConfig], Sequence[Served]]


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured. alone: device seconds by which an iteration is over the simulated one, the other engine idle;
    beside: how many times the simulated one it takes while the other is at work."""

    alone: Pace
    beside: Pace


@dataclass(frozen=True, slots=True)
class Ways:
    """The costs of each; None where it was not measured. parted: cores of their own, whose `alone` has what is not the
    way's, as a request's way to the engine; turns: the experiment's static shares of the time, `alone` and `beside` on
    top of that; turns_with_priority: the same with halves, and decode goes first."""

    parted: Costs
    turns: Costs | None
    turns_with_priority: Costs | None


def alone_of(way: Way, config: EngineConfig, load: Sequence[Arrival]) -> Pace:
    """By how much an iteration of each engine is over the simulated one, the other idle; of a prompt as `load` has
    them, since long operators are launched otherwise than short ones."""
    asked = [PROBE._replace(prompt=min(_length(load), MAX_LEN - 1 - PROBE.output))]
    live = pace_of([one for _ in range(_ALONE) for one in way.live(asked)])
    simulated = pace_of(way.simulated(asked, config))
    return Pace(live.prefill - simulated.prefill, live.decode - simulated.decode)


def on_top(alone: Pace, usual: Pace) -> Pace:
    """Of turns, beyond what every way costs."""
    return Pace(max(0.0, alone.prefill - usual.prefill), max(0.0, alone.decode - usual.decode))


def costs_of_parted(way: Way, config: EngineConfig, load: Sequence[Arrival], alone: Pace) -> Costs:
    """With requests as `load` has them."""
    return Costs(alone, _beside(way, load, lambda found: with_costs(config, Costs(alone, found), None)))


def costs_of_turns(way: Way, config: EngineConfig, load: Sequence[Arrival], alone: Pace) -> Costs:
    """The same where time is shared. alone: what that costs on top."""
    usual = Costs(alone, Pace(1.0, 1.0))  # nothing runs on parted cores
    return Costs(alone, _beside(way, load, lambda found: with_costs(config, usual, Costs(alone, found))))


def with_costs(config: EngineConfig, parted: Costs, turns: Costs | None) -> EngineConfig:
    """turns: None where no time is shared."""
    config = replace(config, beside=_phases(parted.beside))
    if turns is None:
        return config
    return replace(config, turns=_phases(turns.beside), turn_seconds=_phases(turns.alone))


def _beside(way: Way, load: Sequence[Arrival], told: Callable[[Pace], EngineConfig]) -> Pace:
    """told: the simulator's settings with these factors. Raises StackError where the engines' requests do not run
    beside each other."""
    for more in _MORE:
        asked = probe(load, lambda arrivals: way.simulated(arrivals, told(Pace(1.0, 1.0))), more)
        paces = [pace for _ in range(_times(load)) if (pace := _pace_or_none(way.live(asked))) is not None]
        if not paces:
            continue
        live, found = _mean(paces), Pace(1.0, 1.0)
        try:
            for _ in range(_ROUNDS):
                simulated = pace_beside(way.simulated(asked, told(found)))
                found = Pace(
                    found.prefill * live.prefill / simulated.prefill, found.decode * live.decode / simulated.decode
                )
        except ApartError:
            continue
        return found
    raise StackError("requests that decode do not outlast prompts, so what engines cost each other was not measured")


def _pace_or_none(served: Sequence[Served]) -> Pace | None:
    try:
        return pace_beside(served)
    except ApartError:
        return None


def probe(load: Sequence[Arrival], simulated: Ask, more: float) -> list[Arrival]:
    """Some requests that decode, and once they do prompts, all at once. The simulator says when that is, and how long
    they must go on; both take `more` times that."""
    usual = min(round(fmean(request.prompt for request in load)), MAX_LEN // 2)  # so that they can go on for long
    length = _length(load)
    longest = MAX_LEN - 1 - usual
    running = [Arrival(0.0, usual, longest)] * _RUNNING
    begin = more * max(request.tokens[0] for request in simulated(running)) + _SETTLED
    prompts = [Arrival(begin, length, 1)] * _at_once(load)
    found = simulated([*running, *prompts])
    end = max(request.tokens[0] for request in found if request.output == 1)
    needed = max(sum(token <= end for token in request.tokens) for request in found)
    return [*[Arrival(0.0, usual, min(longest, round(more * needed)))] * _RUNNING, *prompts]


def pace_beside(served: Sequence[Served]) -> Pace:
    """Seconds from when the prompts came to the last of their first tokens, whatever iterations the engine made of
    them, and the mean of a decode step meanwhile.

    Raises StackError where somebody was not answered, ApartError where one did not decode all the time, or none made a
    step meanwhile.
    """
    for request in served:
        if not request.finished:
            raise StackError(f"an engine did not answer while its costs were measured: {request.why}")
    prompts = [request for request in served if request.output == 1]
    begin, end = min(request.arrived for request in prompts), max(request.tokens[0] for request in prompts)
    running = [request for request in served if request.output > 1]
    if not all(request.tokens[0] <= begin and request.tokens[-1] >= end for request in running):
        raise ApartError("requests that decode began after the prompts, or were over before them")
    pairs = [pair for request in running for pair in pairwise(request.tokens)]
    steps = [after - before for before, after in pairs if before >= begin and after <= end]
    if not steps:
        raise ApartError("no step of decode lies beside the prompts")
    return Pace(end - begin, fmean(steps))


def _times(load: Sequence[Arrival]) -> int:
    """How often the probe is asked, so that there are iterations enough."""
    return min(_ITERATIONS, ceil(_ITERATIONS * _in_iteration(_length(load)) / _at_once(load)))


def _at_once(load: Sequence[Arrival]) -> int:
    length = _length(load)
    return max(min(len(load), _ITERATIONS * _in_iteration(length)), ceil(_LEAST_TOKENS / length))


def _in_iteration(length: int) -> int:
    """How many prompts of so many tokens."""
    return max(1, TOKEN_BUDGET // length)


def _mean(paces: Sequence[Pace]) -> Pace:
    return Pace(fmean(pace.prefill for pace in paces), fmean(pace.decode for pace in paces))


def _length(load: Sequence[Arrival]) -> int:
    """Of the prompt of a token in an iteration, not of a request."""
    return round(sum(request.prompt**2 for request in load) / sum(request.prompt for request in load))


def _phases(pace: Pace) -> Phases:
    return Phases(pace.prefill, pace.decode)
