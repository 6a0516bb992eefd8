# SPDX-License-Identifier: Apache-2.0
"""The recorded vLLM run under tests/data, simulated with the same engine settings; prints both beside each other.

    python tests/support/recorded_run.py [--table FOLDER] [--launch 0.0005] [--no-reuse]

FOLDER: the measured table of the device; without it, the excerpt under tests/data/perf.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flexnpu.forecast import Forecaster
from flexnpu.forecast.calibration_profile import calibrate, device_of
from flexnpu.forecast.tables import read_table
from flexnpu.llm import ModelShape
from flexnpu.planner import POLICIES
from flexnpu.simulator import Arrival, EngineConfig, Simulation

DATA = Path(__file__).parents[1] / "data"
TABLE = DATA / "perf" / "llmservingsim_rtx4090"
LLAMA31_8B = DATA / "models" / "llama-3.1-8b.json"
# vLLM keeps one of the 2,588 blocks for itself; its kernels are compiled, so an iteration is not bound by dispatch.
ENGINE = {
    "token_budget": 2048, "max_running": 256, "kv_tokens": 2587 * 16, "block_tokens": 16, "hash_tokens": 16,
    "dispatch_seconds": 0.0, "graph_seconds": 0.0,
}  # fmt: skip


class Latencies(NamedTuple):
    """Seconds, by request."""

    ttft: np.ndarray
    tpot: np.ndarray
    end: float
    preemptions: int = 0


def recording():
    """The arrivals and what came of them. Every prompt has blocks of its own: who is preempted finds them again."""
    with (DATA / "recorded_vllm" / "requests.csv").open(encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    arrivals = [
        Arrival(
            row["queued_s"],
            int(row["prompt_tokens"]),
            int(row["output_tokens"]),
            range(10_000 * number, 10_000 * number + int(row["prompt_tokens"]) // 16),
        )
        for number, row in enumerate(rows)
    ]
    ttft = np.array([row["first_token_s"] - row["queued_s"] for row in rows])
    tpot = np.array([(row["last_token_s"] - row["first_token_s"]) / (row["output_tokens"] - 1) for row in rows])
    return arrivals, Latencies(ttft, tpot, max(row["last_token_s"] for row in rows))


def forecaster(table=TABLE):
    found = read_table(table)
    soc = device_of(found)
    return Forecaster(ModelShape.from_config(LLAMA31_8B), soc, calibrate(found, soc, scored=False))


def simulated(arrivals, forecast, **changes):
    chosen = EngineConfig(**{**ENGINE, **changes})
    done = sorted(Simulation(arrivals, forecast, POLICIES["chunked"](), chosen), key=lambda one: one.number)
    return Latencies(
        np.array([one.ttft for one in done]),
        np.array([one.mean_tpot for one in done]),
        max(one.finish for one in done),
        sum(one.preemptions for one in done),
    )


def main():
    parser = argparse.ArgumentParser(description="A recorded vLLM run beside its simulation.")
    parser.add_argument("--table", default=TABLE)
    parser.add_argument("--launch", type=float, default=EngineConfig().launch_seconds)
    parser.add_argument("--no-reuse", action="store_true")
    options = parser.parse_args()
    arrivals, real = recording()
    forecast = forecaster(options.table)
    ours = simulated(arrivals, forecast, launch_seconds=options.launch, prefix_caching=not options.no_reuse)
    print(f"{'':14}{'recorded':>10}{'simulated':>11}")
    rows = [
        (f"{what} {name}", unit, spread(one) * factor, spread(two) * factor)
        for what, unit, factor, one, two in (
            ("TTFT", "s", 1.0, real.ttft, ours.ttft),
            ("TPOT", "ms", 1e3, real.tpot, ours.tpot),
        )
        for name, spread in (("mean", np.mean), ("p50", np.median), ("p90", lambda each: np.quantile(each, 0.9)))
    ]
    for name, unit, recorded, found in [*rows, ("last token", "s", real.end, ours.end)]:
        print(f"{name:11}{unit:3}{recorded:10.2f}{found:11.2f}{found / recorded - 1:+8.1%}")
    print(f"{ours.preemptions} preemptions simulated")


if __name__ == "__main__":
    main()
