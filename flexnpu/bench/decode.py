# SPDX-License-Identifier: Apache-2.0
"""How much slower a Hugging Face model decodes on a vNPU than without FlexNPU: programs that take turns.

Two of three are without: what they differ by is what such a figure is worth on this host.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flexnpu.bench.figures import median_interval
from flexnpu.bench.result import Result, Row
from flexnpu.bench.stand import GIB, Program, Stand, ahead_of_other_work
from flexnpu.errors import BackendError

DEVICE = "software NPU, free clock, math skipped: what the host does is all there is"
TARGET_PERCENT = 0.5
_SECONDS_PER_ROUND = 10.0  # where a process lies in memory makes a per cent, for as long as it lives
_ROUNDS_AT_LEAST = 3
_TOKENS = 10  # of a turn: short, so that a busy host meets all alike
_SECONDS_PER_TURN = 0.08
_NEEDED = ("torch", "torch_npu", "transformers")


@dataclass(frozen=True, slots=True)
class Turn:
    """So many tokens: seconds on the clock and of CPU."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Turns:
    """One after the other, in random order: two programs without FlexNPU and one on a vNPU."""

    direct: Turn
    again: Turn
    governed: Turn


def run(seconds: float = 30.0) -> Result:
    """About so long, without the starts of programs."""
    for module in _NEEDED:
        if importlib.util.find_spec(module) is None:
            raise BackendError(
                f"{module} is not installed", next_step="install with: pip install 'flexnpu[torch,demo]'"
            )
    rounds = max(_ROUNDS_AT_LEAST, round(seconds / _SECONDS_PER_ROUND))
    turns = max(10, round(seconds / rounds / _SECONDS_PER_TURN / 3))
    with ahead_of_other_work(), Stand(clock="free", native=False) as stand:
        vnpu = stand.vnpu("decode", memory_bytes=8 * GIB)
        found = [_round(stand, vnpu, turns) for _ in range(rounds)]
    return Result("decode", DEVICE, seconds, tuple(rows(found)))


def rows(rounds: Sequence[Sequence[Turns]]) -> list[Row]:
    """Medians of the ratios within each turn, in per cent; a round has its own programs."""
    token_ms = float(np.median([turn.direct.wall_s for each in rounds for turn in each])) / _TOKENS * 1e3
    return [
        _row("slower by", rounds, _slower, TARGET_PERCENT, {"ms_per_token": token_ms}),
        _row("more CPU time by", rounds, _more_cpu, None, {}),
        _row("two without FlexNPU differ by", rounds, _apart, None, {}),
    ]


def _slower(turn: Turns) -> float:
    return _percent(turn.governed.wall_s, (turn.direct.wall_s + turn.again.wall_s) / 2)


def _more_cpu(turn: Turns) -> float:
    return _percent(turn.governed.cpu_s, (turn.direct.cpu_s + turn.again.cpu_s) / 2)


def _apart(turn: Turns) -> float:
    return _percent(turn.again.wall_s, turn.direct.wall_s)


def _percent(after: float, before: float) -> float:
    return 100 * (after / before - 1)


def _row(
    name: str,
    rounds: Sequence[Sequence[Turns]],
    ratio: Callable[[Turns], float],
    target: float | None,
    more: dict[str, object],
) -> Row:
    percents = [[ratio(turn) for turn in each] for each in rounds]
    # By rounds, since the turns of one share what its programs' places in memory make.
    low, high = median_interval([float(np.median(each)) for each in percents])
    together = [one for each in percents for one in each]
    more = {**more, "pairs": len(together), "rounds": len(rounds), "median_between_percent": [low, high]}
    return Row(f"decode loop: {name}", float(np.median(together)), "%", target, more=more)


def _round(stand: Stand, vnpu: str, count: int) -> list[Turns]:
    # The order of Python's sets and dictionaries makes some per cent, too.
    command = ["env", "PYTHONHASHSEED=0", sys.executable, "-m", "flexnpu.bench.decode_loop"]
    programs = [stand.on_software_npu(command, on) for on in (None, None, vnpu)]
    for each in programs:
        each.answer()
    chance = random.Random(1)
    found = [_turns(programs, chance) for _ in range(count)]
    stand.stop_programs()
    return found


def _turns(programs: Sequence[Program], chance: random.Random) -> Turns:
    took = {}
    for each in chance.sample(programs, len(programs)):
        each.say(str(_TOKENS))
        told = each.answer()
        took[each.pid] = Turn(told["wall_s"], told["cpu_s"])
    return Turns(*(took[each.pid] for each in programs))
