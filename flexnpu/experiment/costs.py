# SPDX-License-Identifier: Apache-2.0
"""What two engines cost each other, and what turns cost, where the forecast does not know it.

The forecast has an iteration on a part of the cores, and beside another one. It does not have this host, on which a
turn's first operator comes late and each launch beside a higher priority waits for an event, nor what the device's L2
holds by then. So the engines are asked something before the runs, once for each way to run both, and the simulator the
same: how long an iteration takes while the other engine is idle, and while it is at work. What is between the two goes
into the settings of the simulator. Pure: who asks the engines is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from flexnpu.experiment.calibrate import PROBE, Pace, pace_of
from flexnpu.experiment.report import Served
from flexnpu.experiment.stack import TOKEN_BUDGET, StackError
from flexnpu.simulator import Arrival, EngineConfig, Phases

_ALONE = 3  # times, one after another
# Requests that decode, and prompts that come when all of them do: no two fit into one iteration.
_RUNNING = [Arrival(0.0, 256, 240)] * 4
_PROMPTS = [Arrival(1.0, TOKEN_BUDGET // 2 + 100, 1)] * 4

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
    """The costs of each; None where it was not measured. parted: cores of their own; turns: half of the time each;
    turns_with_priority: the same, and decode goes first."""

    parted: Costs
    turns: Costs | None
    turns_with_priority: Costs | None


def of_parted(way: Way, config: EngineConfig) -> Costs:
    """On parted cores, whose `alone` has what is not the way's: a request's way to the engine and back."""
    return Costs(_alone(way, config), _beside(way, config))


def of_turns(way: Way, config: EngineConfig, parted: Costs) -> Costs:
    """Where time is shared: `alone` is what comes on top of parted cores, and `beside` on top of that."""
    over, usual = _alone(way, config), parted.alone
    alone = Pace(max(0.0, over.prefill - usual.prefill), max(0.0, over.decode - usual.decode))
    return Costs(alone, _beside(way, replace(config, turn_seconds=_phases(alone))))


def with_costs(config: EngineConfig, parted: Costs, turns: Costs | None) -> EngineConfig:
    """turns: None where no time is shared."""
    config = replace(config, beside=_phases(parted.beside))
    if turns is None:
        return config
    return replace(config, turns=_phases(turns.beside), turn_seconds=_phases(turns.alone))


def _alone(way: Way, config: EngineConfig) -> Pace:
    live = pace_of([one for _ in range(_ALONE) for one in way.live([PROBE])])
    simulated = pace_of(way.simulated([PROBE], config))
    return Pace(live.prefill - simulated.prefill, live.decode - simulated.decode)


def _beside(way: Way, config: EngineConfig) -> Pace:
    asked = [*_RUNNING, *_PROMPTS]
    live, simulated = pace_beside(way.live(asked)), pace_beside(way.simulated(asked, config))
    return Pace(live.prefill / simulated.prefill, live.decode / simulated.decode)


def pace_beside(served: Sequence[Served]) -> Pace:
    """Mean seconds of an iteration of prompts that follow each other, and of a decode step meanwhile.

    Raises StackError where somebody was not answered, or nobody decoded meanwhile.
    """
    if not all(request.finished for request in served):
        raise StackError(f"an engine did not answer while its costs were measured: {_why(served)}")
    firsts = sorted(request.tokens[0] for request in served if request.output == 1)
    begin, end = firsts[0], firsts[-1]
    gaps = [
        after - before
        for request in served
        for before, after in zip(request.tokens, request.tokens[1:], strict=False)
        if before >= begin and after <= end
    ]
    if not gaps:
        raise StackError("no request decoded beside the prompts while the engines' costs were measured")
    return Pace((end - begin) / (len(firsts) - 1), mean(gaps))


def _why(served: Sequence[Served]) -> str | None:
    return next((request.why for request in served if not request.finished), None)


def _phases(pace: Pace) -> Phases:
    return Phases(pace.prefill, pace.decode)
