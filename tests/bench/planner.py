# SPDX-License-Identifier: Apache-2.0
"""make bench-planner: how long each policy takes to plan for 256 running and 256 waiting requests.

States are drawn with a seed: lengths over two orders of magnitude, waits up to twice the TTFT target, half of the
states with a plan in force. A state is planned for several times and its quickest turn counts, because the machine is
shared; the percentiles are over states. Forecasts are warm: a forecaster works out its operators by blocks of token
counts when they are first asked for, some milliseconds each, and `first` is a plan of the very first state.

Both ways of saying who runs are measured: `sums`, a Load and columns, as the simulator has them, and `lists` of 512
Request, which are read when the snapshot is made. `both` is the p99 of snapshot and plan together.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from flexnpu.errors import FlexNpuError
from flexnpu.forecast import Forecaster, Request
from flexnpu.forecast.batch import Batch
from flexnpu.forecast.load import Load
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config
from flexnpu.planner import POLICIES, Feedback, Snapshot, Split, Targets

TARGET = 100.0  # microseconds, p99
MANY = 256  # running, and as many that wait
TTFT, ITL = 2.0, 0.1
Row = dict[str, object]


def states(cores: int, count: int, seed: int, form: str) -> Iterator[Callable[[], Snapshot]]:
    """Makers of that many snapshots; the same for the same seed in both forms."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        new = np.exp(draw.uniform(np.log(16), np.log(16384), MANY)).astype(int)
        cached = draw.integers(0, 4096, MANY) * (draw.random(MANY) < 0.3)
        # From states that decode finds easy to such as it cannot serve in time.
        contexts = np.exp(draw.uniform(np.log(64), draw.uniform(np.log(128), np.log(16384)), MANY)).astype(int)
        waits = np.sort(draw.uniform(0, draw.uniform(0, 2 * TTFT), MANY))[::-1]
        ours = int(draw.integers(1, cores))
        in_force = bool(draw.random() < 0.5)
        credits = draw.normal(draw.uniform(0, 3 * ITL), 0.02, MANY)
        itl = float(draw.choice([ITL / 2, ITL]))
        ones = np.ones(MANY)
        prompts = [Request(int(one), int(old)) for one, old in zip(new, cached, strict=True)]
        columns = Batch(new.astype(float), cached.astype(float), ones)
        yield partial(
            Snapshot,
            device_cores=cores,
            targets=Targets(TTFT, itl),
            prefill=columns if form == "sums" else prompts,
            decode=Load.decode(MANY, float(contexts.sum() + MANY))
            if form == "sums"
            else [Request(1, int(context)) for context in contexts],
            waits=waits if form == "sums" else waits.tolist(),
            credits=credits if form == "sums" else credits.tolist(),
            feedback=Feedback(TTFT * 1.5, ITL / 2) if draw.random() < 0.1 else None,
            current=Split(cores - ours, ours) if in_force else None,
            current_mode="split" if in_force else None,
            overhead=0.5e-3,
        )


class Cell(NamedTuple):
    """What is measured: a policy on states of one device, said in one way."""

    device: str
    policy: str
    form: str
    forecaster: Forecaster
    makers: Sequence[Callable[[], Snapshot]]
    best: list[float]  # microseconds of the quickest turn, by state
    made: list[float]  # likewise, to make its snapshot


def turn(cell: Cell) -> float:
    """Every state once, in CPU time of this thread; microseconds of the first."""
    policy, clock, first = POLICIES[cell.policy](), time.thread_time, 0.0
    for place, make in enumerate(cell.makers):
        start = clock()
        state = make()
        made = clock()
        policy.plan(state, cell.forecaster)
        took = 1e6 * (clock() - made)
        cell.best[place] = min(cell.best[place], took)
        cell.made[place] = min(cell.made[place], 1e6 * (made - start))
        first = first or took
    return first


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Turns of all cells go round, so that a busy spell of the machine does not fall on one of them alone."""
    shape = ModelShape.from_config(find_config(options.model)[1])
    cells = []
    for device in options.device:
        soc = load_soc(device)
        for name in options.policy.split(",") if options.policy else POLICIES:
            for form in ("sums", "lists"):
                forecaster = Forecaster(shape, soc)
                many = list(states(forecaster.cores, options.states, options.seed, form))
                never = [float("inf")] * len(many)
                cells.append(Cell(device, name, form, forecaster, many, never, [*never]))
    cold = [turn(cell) for cell in cells]
    for cell in cells:
        cell.best[:] = [float("inf")] * len(cell.best)
    for _ in range(options.turns):
        for cell in cells:
            turn(cell)
    for cell, first in zip(cells, cold, strict=True):
        p50, p99, most = (float(np.percentile(cell.best, part)) for part in (50, 99, 100))
        both = float(np.percentile(np.add(cell.made, cell.best), 99))
        figures = {"p50": p50, "p99": p99, "most": most, "first": first, "both": both}
        figures |= {"target": TARGET, "pass": p99 < TARGET}
        yield {"device": cell.device, "policy": cell.policy, "form": cell.form, **figures}


def show(found: Sequence[Mapping[str, object]], console: Console) -> None:
    title = f"Microseconds per plan, {MANY} running and {MANY} waiting; p99 is to be under {TARGET:g}"
    grid = Table(title=title)
    for name in ("device", "policy", "form", "p50", "p99", "most", "first", "both"):
        grid.add_column(name, justify="left" if name in {"device", "policy", "form"} else "right")
    for row in found:
        figures = [f"{row[name]:.0f}" for name in ("p50", "p99", "most", "first", "both")]
        figures[1] += "" if row["pass"] else " missed"
        grid.add_row(str(row["device"]), str(row["policy"]), str(row["form"]), *figures)
    console.print(grid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="Qwen3-8B")
    parser.add_argument("--device", action="append")
    parser.add_argument("--policy", help="NAME[,NAME...]; all without")
    parser.add_argument("--states", type=int, default=300)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.device = options.device or ["Ascend910B2", "H100"]
    gc.disable()
    try:
        found = list(rows(options))
    except FlexNpuError as error:
        sys.exit(f"flexnpu: error: {error}")
    show(found, Console(width=110))
    if options.json:
        document = {
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "model": options.model,
            "states": options.states,
            "seed": options.seed,
            "rows": found,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
