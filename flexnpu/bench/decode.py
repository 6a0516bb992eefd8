# SPDX-License-Identifier: Apache-2.0
"""How much slower a Hugging Face model decodes on a vNPU than without FlexNPU: two programs that take turns."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexnpu.bench.figures import median_interval
from flexnpu.bench.result import Result, Row
from flexnpu.bench.stand import GIB, Program, Stand
from flexnpu.errors import BackendError

DEVICE = "software NPU, free clock, math skipped: what the host does is all there is"
TARGET_PERCENT = 0.5
_ROUNDS = 3  # of both programs: where a process lies in memory makes a per cent, for as long as it lives
_TOKENS = 10  # of a turn: short, so that a busy host meets both alike
_SECONDS_PER_PAIR = 0.15
_NEEDED = ("torch", "torch_npu", "transformers")


@dataclass(frozen=True, slots=True)
class Turn:
    """So many tokens: seconds on the clock and of CPU."""

    wall_s: float
    cpu_s: float


def run(seconds: float = 30.0) -> Result:
    """About so long after both programs have started."""
    for module in _NEEDED:
        if importlib.util.find_spec(module) is None:
            raise BackendError(
                f"{module} is not installed", next_step="install with: pip install 'flexnpu[torch,demo]'"
            )
    pairs: list[tuple[Turn, Turn]] = []
    with Stand(clock="free", native=False) as stand:
        vnpu = stand.vnpu("decode", memory_bytes=8 * GIB)
        for _ in range(_ROUNDS):
            pairs += _round(stand, vnpu, max(10, round(seconds / _ROUNDS / _SECONDS_PER_PAIR)))
    return Result("decode", DEVICE, seconds, tuple(rows(pairs)))


def rows(pairs: Sequence[tuple[Turn, Turn]]) -> list[Row]:
    """(without, with) FlexNPU. Medians of the pairs' ratios, in per cent."""
    wall = [100 * (after.wall_s / before.wall_s - 1) for before, after in pairs]
    cpu = [100 * (after.cpu_s / before.cpu_s - 1) for before, after in pairs]
    token_ms = float(np.median([before.wall_s for before, _ in pairs])) / _TOKENS * 1e3
    return [
        _row("decode loop: slower by", wall, TARGET_PERCENT, {"ms_per_token": token_ms}),
        _row("decode loop: more CPU time by", cpu, None, {}),
    ]


def _row(name: str, percents: Sequence[float], target: float | None, more: dict[str, object]) -> Row:
    low, high = median_interval(percents)
    more = {**more, "pairs": len(percents), "median_between_percent": [low, high]}
    return Row(name, float(np.median(percents)), "%", target, more=more)


def _round(stand: Stand, vnpu: str, count: int) -> list[tuple[Turn, Turn]]:
    command = [sys.executable, "-m", "flexnpu.bench.decode_loop"]
    direct, governed = stand.on_software_npu(command), stand.on_software_npu(command, vnpu)
    for each in (direct, governed):
        each.answer()
    pairs = _pairs(direct, governed, count)
    stand.stop_programs()
    return pairs


def _pairs(direct: Program, governed: Program, count: int) -> list[tuple[Turn, Turn]]:
    chance = random.Random(1)
    found = []
    for _ in range(count):
        turns = {}
        for each in chance.sample([direct, governed], 2):
            each.say(str(_TOKENS))
            told = each.answer()
            turns[each.pid] = Turn(told["wall_s"], told["cpu_s"])
        found.append((turns[direct.pid], turns[governed.pid]))
    return found
