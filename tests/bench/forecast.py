# SPDX-License-Identifier: Apache-2.0
"""How far off the forecast is on measured tables, and how long it takes: make bench-forecast

    python tests/bench/forecast.py [--tables FOLDER] [--seed N] [--json FILE]

FOLDER holds folders of tables; without it the excerpts under tests/data are taken.
Every kind is fitted on half of its shapes and told on the other half.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from flexnpu.errors import FlexNpuError
from flexnpu.forecast import Batch, Forecaster, Load, Request, anchors
from flexnpu.forecast.calibration import evaluate, split
from flexnpu.forecast.calibration_profile import calibrate, device_of
from flexnpu.forecast.calibration_recording import host_seconds, quiet_seconds
from flexnpu.forecast.calibration_rows import seconds_of, vendor_seconds
from flexnpu.forecast.tables import Table, believed, read_table
from flexnpu.hardware import Soc, load_soc
from flexnpu.llm import ModelShape

EXCERPTS = Path(__file__).parents[1] / "data" / "perf"
LLAMA_8B = Path(__file__).parents[1] / "data" / "models" / "llama-3.1-8b.json"
Row = dict[str, object]


def tables(folder: Path) -> Iterator[tuple[str, Table, Soc]]:
    """Every table that can be read there and whose device is known; whole iterations need none."""
    for place in sorted(each for each in folder.iterdir() if each.is_dir()):
        try:
            table = read_table(place)
        except FlexNpuError:
            continue
        try:
            soc = device_of(table)
        except FlexNpuError:
            if set(table.parts) - {"prefill", "decode"}:
                continue
            soc = load_soc("A100")  # not asked for anything
        yield place.name, believed(table, soc, place.name), soc


def accuracy(name: str, table: Table, soc: Soc, seed: int) -> Iterator[Row]:
    """Errors in percent of each kind and kernel: the vendor's constants, the data sheet, and half of the table."""
    for score in evaluate(table, soc, seed=seed):
        row: Row = {"table": name, "kind": score.kind, "series": " ".join(map(str, score.labels.values())) or "all"}
        row |= {"rows": score.rows, "calibrated": 100 * score.mape, "deviation": 100 * score.deviation}
        if not score.labels:
            left = split(table.parts[score.kind], seed)[1]
            row["data_sheet"] = _percent(seconds_of(left, soc), left.seconds)
            row["vendor"] = _percent(vendor_seconds(left, soc), left.seconds)
        yield row


def forecasts(table: Table, soc: Soc, seed: int) -> Iterator[Row]:
    """Calls over a prompt and running requests as a Forecaster of half of them tells the other half: attention alone.

    That asks by sums over requests, which rise; `accuracy` has the series that its tables are laid out from.
    """
    known, left = split(table.parts["mixed"], seed)
    half = replace(table, parts={**table.parts, "mixed": known})
    forecaster = Forecaster(ModelShape.from_config(LLAMA_8B), soc, calibrate(half, soc, scored=False))
    sizes, told = left.sizes, np.zeros(len(left))
    columns = (sizes[name] for name in ("new", "cached", "sequences", "length"))
    for number, (new, cached, running, length) in enumerate(zip(*columns, strict=True)):
        batch = [Request(int(new), int(cached))] if new else []
        batch += [Request(1, int(length), int(running))] if running else []
        parts = forecaster.forecast(forecaster.cores, batch).by_operator
        attention = sum(seconds for name, seconds in parts.items() if name.endswith("_attention"))
        told[number] = attention / forecaster.model.layers
    prompts, requests = sizes["new"] > 0, sizes["sequences"] > 0
    every = np.ones(len(left), dtype=bool)
    for series, which in (
        ("all", every),
        ("prompt and running", prompts & requests),
        ("running", ~prompts),
        ("prompt", ~requests),
    ):
        if which.any():
            measured = left.seconds[which]
            root = float(100 * np.sqrt(((told[which] / measured - 1) ** 2).mean()))
            row: Row = {"kind": "mixed, as a forecaster tells them", "series": series, "rows": int(which.sum())}
            yield row | {"calibrated": _percent(told[which], measured), "deviation": root}


def _percent(told: np.ndarray, measured: np.ndarray) -> float | None:
    known = np.isfinite(told)
    return float(100 * np.abs(told[known] / measured[known] - 1).mean()) if known.any() else None


def recording(folder: Path, table: Table, soc: Soc) -> Row:
    """The recorded engine run beside a forecast from all of the table."""
    forecaster = Forecaster(ModelShape.from_config(LLAMA_8B), soc, calibrate(table, soc, scored=False))
    quiet = quiet_seconds(folder)
    ratio = quiet.forecast(forecaster) / quiet.seconds
    calm = ratio[quiet.waiting == 0]
    return {
        "seconds": len(ratio),
        "forecast_over_recorded_median": float(np.median(ratio)),
        "without_waiting": len(calm),
        "forecast_over_recorded_without_waiting": float(np.median(calm)) if calm.size else None,
        "host_seconds": host_seconds(quiet, forecaster),
    }


def speed(forecaster: Forecaster) -> Row:
    """Microseconds; of 256 requests."""
    running = [Request(1, 1000 + 7 * i) for i in range(255)]
    batch, mixed = Batch.of([*running, Request(1, 9000)]), Batch.of([*running, Request(1024, 9000)])
    load, prompt = forecaster.load(batch), Load.prefill(1024)
    half = forecaster.cores // 2
    neighbour = forecaster.forecast(half, prompt)
    return {
        "forecast of a batch of 256 beside a prompt": _best(lambda: forecaster.forecast(half, batch, neighbour)),
        "the same, a prompt among the 256": _best(lambda: forecaster.forecast(half, mixed, neighbour)),
        "a batch of 256, by all core counts": _best(lambda: forecaster.alone(batch)),
        "alone, by all core counts, of sums": _best(lambda: forecaster.alone(load)),
        "seconds, of sums": _best(lambda: forecaster.seconds(forecaster.cores // 2, load)),
        "split of prefill and decode": _best(lambda: forecaster.split(prompt, load)),
    }


def _best(call: Callable[[], object], turns: int = 30, each: int = 50) -> float:
    """Microseconds of this process' time per call: the best of so many turns of so many calls."""
    call()
    best = float("inf")
    for _ in range(turns):
        start = time.process_time()
        for _ in range(each):
            call()
        best = min(best, time.process_time() - start)
    return 1e6 * best / each


def show(result: dict[str, object], console: Console) -> None:
    grid = Grid(title="Mean absolute percentage error on shapes left out")
    names = ("table", "kind", "series", "rows", "vendor", "data_sheet", "calibrated", "deviation")
    for name in names:
        grid.add_column(name.replace("_", " "), justify="left" if name in names[:3] else "right")
    for row in result["accuracy"]:  # type: ignore[attr-defined]
        grid.add_row(*(_shown(row.get(name)) for name in names))
    console.print(grid)
    for name, title in (("recording", "Recorded engine run"), ("speed", "Speed, us"), ("anchors", "Published anchors")):
        rows = Grid(title=title, show_header=False)
        for key, value in result[name].items():  # type: ignore[attr-defined]
            rows.add_row(key, _shown(value))
        console.print(rows)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=EXCERPTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.tables.is_dir():
        sys.exit(f"flexnpu: error: {options.tables}: no folder; give --tables a folder of folders of tables")
    found = list(tables(options.tables))
    rows = [row for each in found for row in accuracy(*each, options.seed)]
    joined = [
        {"table": name} | row
        for name, table, soc in found
        if "mixed" in table.parts
        for row in forecasts(table, soc, options.seed)
    ]
    result: dict[str, object] = {
        "tables": str(options.tables),
        "seed": options.seed,
        "accuracy": [*rows, *joined],
        "recording": {},
    }
    for name, table, soc in found:
        bench = options.tables / name / "bench"
        if "mixed" in table.parts and bench.is_dir():
            result["recording"] = recording(bench, table, soc)
    result["speed"] = speed(Forecaster(ModelShape.from_config(anchors.QWEN), load_soc("Ascend910B2")))
    result["anchors"] = {what: f"{told} (measured {measured})" for what, measured, told in anchors.rows()}
    show(result, Console(width=150))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
