# SPDX-License-Identifier: Apache-2.0
"""How soon the controller has answered a prompt that begins beside decoding: seen, planned and applied, from its own
journal, and beside it what the engine noticed.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexnpu.bench.figures import Spread
from flexnpu.bench.result import NULL, Result, Row
from flexnpu.bench.stand import BenchError, Program, Stand, ahead_of_other_work, program
from flexnpu.llm.presets import find_config

SUM_MS = 5.0
MODEL = "Qwen2.5-7B"
DEVICE = f"{NULL}; passes take the host's time"
_PREFILL, _DECODE = "p", "d"
_TOKENS = 2000
_PROMPT_NS, _DECODE_NS = 100_000_000, 12_000_000  # what a pass takes
_REQUESTS, _CONTEXT = 16, 1500  # of decode
_WARM_UP = 3  # prompts, after which the layers of a pass are known
_BACK_WITHIN_S = 5.0  # the cores, after a prompt
_PAUSE_S = (0.05, 0.15)  # after that; no multiple of decode's step
_LOOK_EVERY_S = 0.02

Record = Mapping[str, Any]  # a line of the journal


@dataclass(frozen=True, slots=True)
class Reaction:
    """A decision that a prompt's beginning caused. Host times in ms; told: until the engine was told its new cores."""

    seen: float
    planned: float
    applied: float
    told: float | None = None

    @property
    def together(self) -> float:
        return self.seen + self.planned + self.applied


class Journal:
    """The controller's decisions, as they are written."""

    def __init__(self, file: Path) -> None:
        self._file, self._read = file, 0

    def fresh(self) -> list[Record]:
        """Whole lines since the last time."""
        if not self._file.exists():
            return []
        with self._file.open("rb") as lines:
            lines.seek(self._read)
            text = lines.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def run(prompts: int = 100) -> Result:
    """So many, about half a second each."""
    began = time.monotonic()
    with ahead_of_other_work(), Stand() as stand:
        for name in (_PREFILL, _DECODE):
            stand.vnpu(name, cores=stand.cores // 2)
        size = ["--requests", str(_REQUESTS), "--always", str(_CONTEXT)]
        decode = stand.on_null_device([program("steps"), "--step", str(_DECODE_NS), *size], _DECODE)
        prefill = stand.on_null_device([program("steps"), "--step", str(_PROMPT_NS)], _PREFILL)
        for each in (decode, prefill):
            each.answer()
        file = stand.root / "decisions.jsonl"
        controller = stand.beside(_controller(stand, file))
        journal = Journal(file)
        for _ in range(_WARM_UP):
            _prompt(prefill, journal, (controller, decode))
        found = [_prompt(prefill, journal, (controller, decode)) for _ in range(prompts)]
    reactions = [each for each in found if each is not None]
    more = {"model": MODEL, "prompt_tokens": _TOKENS, "decoding": _REQUESTS}
    return Result("react", DEVICE, time.monotonic() - began, tuple(rows(reactions, prompts)), more)


def _controller(stand: Stand, file: Path) -> list[str]:
    command = [sys.executable, "-m", "flexnpu.cli.main", "controller", "--prefill", _PREFILL, "--decode", _DECODE]
    command += ["--model", str(find_config(MODEL)[1]), "--decisions", str(file), "--quiet"]
    return [*command, "--runtime-dir", str(stand.client.paths.root)]


def _prompt(prefill: Program, journal: Journal, others: Sequence[Program]) -> Reaction | None:
    """One, until its cores have gone back; None where none were moved for it."""
    time.sleep(random.uniform(*_PAUSE_S))
    journal.fresh()
    prefill.say(str(_TOKENS))
    engine = prefill.answer()
    records: list[Record] = []
    end = time.monotonic() + _BACK_WITHIN_S
    while not any(is_move(each, "idle") for each in records):
        for each in others:
            each.check()
        if time.monotonic() > end:
            break
        time.sleep(_LOOK_EVERY_S)
        records += journal.fresh()
    return reaction(records, engine)


def is_move(record: Record, prefill: str) -> bool:
    """Whether it is a plan that moved cores, of a prefill engine that is busy or idle."""
    if record["kind"] != "decision" or record["mode"] != "planned" or not record["moved"]:
        return False
    applied, phases = record["applied"], record["services"][0]["phases"]
    return bool(applied and applied["done"] and phases["prefill"] == prefill)


def reaction(records: Iterable[Record], engine: Mapping[str, Any]) -> Reaction | None:
    """The first move for a prompt; engine: what the prompt's program told of it."""
    move = next((each for each in records if is_move(each, "busy")), None)
    if move is None:
        return None
    seen, planned = move["seen_after_wall_seconds"], move["planned_in_wall_seconds"]
    told = next((at for at, _ in engine["cores"][1:]), None)  # the first is what it had
    engine_ms = None if told is None else (told - engine["began_ns"]) / 1e6
    return Reaction(seen * 1e3, planned * 1e3, move["applied"]["wall_seconds"] * 1e3, engine_ms)


def rows(reactions: Sequence[Reaction], prompts: int) -> list[Row]:
    """Raises BenchError where nothing was moved."""
    if not reactions:
        raise BenchError(f"the controller moved no cores for any of {prompts} prompts")
    parts = {
        "seen after": [each.seen for each in reactions],
        "planned in": [each.planned for each in reactions],
        "applied in": [each.applied for each in reactions],
    }
    found = [Row("prompts that moved cores", len(reactions), "prompts", prompts, at_least=True)]
    for name, samples in parts.items():
        found += _percentiles(name, samples, None)
    found += _percentiles("together", [each.together for each in reactions], SUM_MS)
    told = [each.told for each in reactions if each.told is not None]
    return found + (_percentiles("the engine is told its new cores after", told, None) if told else [])


def _percentiles(name: str, samples: Sequence[float], target: float | None) -> list[Row]:
    """The target is the 90th's."""
    spread = Spread.of(samples)
    return [
        Row(f"{name}, p50", spread.median, "ms"),
        Row(f"{name}, p90", spread.p90, "ms", target),
        Row(f"{name}, p99", spread.p99, "ms", more={"spread_ms": spread}),
    ]
