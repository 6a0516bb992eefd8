# SPDX-License-Identifier: Apache-2.0
"""Synthetic loads of fixed lengths: Poisson arrivals from a seed, or a backlog that is all there at the start.

Written as text, "rate=2,requests=1000,prompt=1024,output=256,seed=7", so that a load is named in one argument and
comes back in the results as it was given. Without a rate, all requests wait at 0 s: a saturated system, as in FlexNPU's
tests (arXiv 2606.04415).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from flexnpu.simulator.traces import MOST_TOKENS, Row, TraceError

EXAMPLE = "rate=2,requests=1000,prompt=1024,output=256,seed=7"
_RANGES = {
    "rate": (1e-6, 1e6),
    "requests": (1, 10**9),
    "prompt": (1, MOST_TOKENS),
    "output": (1, MOST_TOKENS),
    "seed": (0, 2**53),
}


def rows(text: str, limit: int | None = None) -> Iterator[Row]:
    """The requests of a load, gaps drawn from an exponential distribution. The same text gives the same requests."""
    load = parse(text)
    rate, count = load.get("rate"), int(load["requests"])
    prompt, output = int(load["prompt"]), int(load["output"])
    draw = random.Random(int(load.get("seed", 0))).random
    seconds = 0.0
    for index in range(count if limit is None else min(count, limit)):
        if index and rate is not None:
            seconds -= math.log(1.0 - draw()) / rate
        yield Row(seconds, prompt, output)


def parse(text: str) -> dict[str, float]:
    """The fields of a load. Raises TraceError with what is allowed."""
    load: dict[str, float] = {}
    for item in text.split(","):
        name, _, value = (each.strip() for each in item.partition("="))
        if name not in _RANGES:
            raise TraceError(
                f"synthetic load {text!r}: {name!r} is not a field",
                next_step=f"write it like {EXAMPLE} (rate is optional)",
            )
        load[name] = _number(text, name, value)
    missing = [name for name in ("requests", "prompt", "output") if name not in load]
    if missing:
        raise TraceError(f"synthetic load {text!r} has no {missing[0]}", next_step=f"write it like {EXAMPLE}")
    return load


def _number(text: str, name: str, value: str) -> float:
    low, high = _RANGES[name]
    whole = name != "rate"
    try:
        number = float(int(value)) if whole else float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        kind = "whole numbers" if whole else "numbers"
        raise TraceError(
            f"synthetic load {text!r}: {name} is {value!r}", next_step=f"give {kind} from {low:g} to {high:g}"
        )
    return number
