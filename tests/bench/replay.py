# SPDX-License-Identifier: Apache-2.0
"""This simulator beside ai-dynamo's replay, on one trace and one table of iteration times.

    python3 -m venv REPLAY && REPLAY/bin/pip install ai-dynamo==1.4.2 numpy
    python tests/bench/replay.py --replay REPLAY/bin/python --trace FILE [--limit N] [--pool 1:1] [--every S]

Both get the same times: of a prompt chunk by its new tokens, of a decode step by the keys that it reads and their mean
per request, as the forecast for --model on --device has them, read off a grid with straight lines between. A mixed
iteration takes both together. Host time is 0 in both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from flexnpu.forecast import Forecaster, Load
from flexnpu.forecast.batch import Floats
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config
from flexnpu.planner import POLICIES
from flexnpu.simulator import Arrival, EngineConfig, Simulation
from flexnpu.simulator.arrival import Watch
from flexnpu.simulator.traces import make_trace

LINK, KEY_BYTES = 50e9, 147456.0  # bytes per second; of a token's keys and values
HASH = 512  # tokens of a block of the trace
# What runs in the other environment. Its times are of one process, without imports.
ASK = """
import json, sys, time
from dynamo.mocker import MockEngineArgs
from dynamo.replay import run_trace_replay
asked = json.load(open(sys.argv[1]))
make = lambda **more: MockEngineArgs(**asked["engine"], **more)
if asked["parted"]:
    roles = {"prefill_engine_args": make(worker_type="prefill"), "decode_engine_args": make(worker_type="decode")}
else:
    roles = {"extra_engine_args": make()}
start = time.process_time()
run_trace_replay(asked["trace"], **roles, **asked["run"])
print(time.process_time() - start)
"""


class Times(NamedTuple):
    """The table: seconds of prompts by new tokens, of decode by keys read and by keys per request."""

    tokens: Floats
    prompts: Floats
    keys: Floats
    contexts: Floats
    steps: Floats

    @classmethod
    def of(cls, forecaster: Forecaster, longest: int) -> Times:
        tokens = np.append(1.0, np.arange(16.0, 8193.0, 16.0))
        keys, contexts = np.linspace(0.0, 1.5 * longest, 301), np.linspace(1.0, 131073.0, 129)
        whole = forecaster.cores
        prompts = [forecaster.seconds(whole, Load.prefill(each)) for each in tokens]
        decode = [[forecaster.seconds(whole, Load.decode(max(k / c, 1.0), max(k, c))) for c in contexts] for k in keys]
        return cls(tokens, np.array(prompts), keys, contexts, np.array(decode))

    def save(self, file: Path) -> None:
        """In milliseconds, under the names that the other one reads."""
        np.savez(
            file, prefill_isl=self.tokens, prefill_ttft_ms=1e3 * self.prompts, decode_active_kv_tokens=self.keys,
            decode_context_length=self.contexts, decode_itl=1e3 * self.steps,
        )  # fmt: skip


class TableForecast:
    """A forecast that is the table, for one device all of whose cores run everything."""

    cores = 2

    def __init__(self, times: Times) -> None:
        self._times = times
        # Both grids are even, so a place in them is a division.
        self._key, self._context = times.keys.item(1), times.contexts.item(1) - times.contexts.item(0)
        self._steps = times.steps.tolist()

    def load(self, requests: Any) -> Load:
        return Load.of(requests)

    def seconds(self, cores: int, load: Load) -> float:
        seconds = 0.0
        if load.prefill_tokens:
            seconds = float(np.interp(load.prefill_tokens, self._times.tokens, self._times.prompts))
        if load.decode_sequences:
            seconds += self._step(load.decode_seen, load.decode_seen / load.decode_sequences)
        return seconds

    def _step(self, keys: float, context: float) -> float:
        row = min(int(keys / self._key), len(self._steps) - 2)
        column = min(int((context - 1.0) / self._context), len(self._steps[0]) - 2)
        down, right = keys / self._key - row, (context - 1.0) / self._context - column
        upper, lower = self._steps[row], self._steps[row + 1]
        first = upper[column] + (upper[column + 1] - upper[column]) * right
        second = lower[column] + (lower[column + 1] - lower[column]) * right
        return float(max(first + (second - first) * down, 1e-3))

    def steps(self, cores: int, load: Load, count: int) -> Floats:
        sequences, seen = load.decode_sequences, load.decode_seen
        return np.array([self._step(seen + sequences * i, seen / sequences + i) for i in range(count)])

    def alone(self, requests: Any) -> Floats:
        return np.array([np.inf, *[self.seconds(1, self.load(requests))] * self.cores])


def ours(arrivals: list[Arrival], times: Times, parted: bool, engine: dict[str, Any]) -> dict[str, float]:
    config = EngineConfig(
        token_budget=engine["max_num_batched_tokens"], max_running=engine["max_num_seqs"],
        kv_tokens=engine["num_gpu_blocks"] * engine["block_size"], launch_seconds=0.0, dispatch_seconds=0.0,
        graph_seconds=0.0, devices=(1, 1) if parted else (1, 0), link_bandwidth=LINK, kv_bytes_per_token=KEY_BYTES,
    )  # fmt: skip
    policy = POLICIES["disaggregated" if parted else "chunked"]()
    if parted:
        # There, the device of prompts makes no token that counts: what is told are those of the device for decode.
        arrivals = [one._replace(output=one.output + 1) for one in arrivals]
    waits: list[float] = []  # between the first two tokens
    simulation = Simulation(
        arrivals, TableForecast(times), policy, config, Watch(gaps=lambda gaps: waits.append(gaps[0].item(0)))
    )
    start = time.process_time()
    done = [one for one in simulation if one.completed]
    seconds = time.process_time() - start
    first = np.array([one.first_token for one in done])
    several = np.array([one.output > 1 + parted for one in done])
    if parted:
        first += np.array(waits)
    came, end = np.array([one.arrival for one in done]), np.array([one.finish for one in done])
    counts = np.array([one.output - 1 - parted for one in done])
    cached = sum(one.cached for one in done) / sum(one.prompt for one in done)
    return {
        "processor_seconds": seconds, "finished": len(done), "cached": cached, "end": float(end.max()),
        **_figures(first - came, (end - first)[several] / counts[several], end - came),
    }  # fmt: skip


def theirs(trace: Path, times: Times, options: argparse.Namespace, engine: dict[str, Any]) -> dict[str, float]:
    folder = trace.parent
    times.save(folder / "times.npz")
    parted = options.pool == "1:1"
    more: dict[str, Any] = {"num_prefill_workers": 1, "num_decode_workers": 1} if parted else {"num_workers": 1}
    if parted:
        engine = engine | {"kv_bytes_per_token": int(KEY_BYTES), "kv_transfer_bandwidth": LINK / 1e9}
    asked = {
        "trace": str(trace), "parted": parted,
        "engine": engine | {"planner_profile_data": str(folder / "times.npz")},
        "run": more | {"trace_block_size": HASH, "report_jsonl_path": str(folder / "out.jsonl")},
    }  # fmt: skip
    (folder / "asked.json").write_text(json.dumps(asked))
    command = [options.replay, "-c", ASK, str(folder / "asked.json")]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = float(told.split()[-1])
    done = [json.loads(line) for line in (folder / "out.jsonl").open()]
    done = [one for one in done if one["terminal_status"] == "completed"]
    ttft, latency = (np.array([one[key] for one in done]) / 1e3 for key in ("ttft_ms", "e2e_latency_ms"))
    tpot = np.array([one["itl_ms"] for one in done if one["output_length"] > 1]) / 1e3
    cached = sum(one["reused_input_tokens"] for one in done) / sum(one["input_length"] for one in done)
    end = max(one["last_token_ms"] for one in done) / 1e3
    return {
        "processor_seconds": seconds, "finished": len(done), "cached": cached, "end": end,
        **_figures(ttft, tpot, latency),
    }  # fmt: skip


def _figures(ttft: Floats, tpot: Floats, latency: Floats) -> dict[str, float]:
    found = {}
    for name, values in (("ttft", ttft), ("tpot", tpot), ("e2e", latency)):
        found[f"{name}_mean"] = float(values.mean())
        found |= {f"{name}_p{part}": float(np.percentile(values, part)) for part in (50, 99)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replay", required=True, help="the Python that has ai-dynamo")
    parser.add_argument("--trace", required=True, help="in Mooncake's format")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--rate-scale", type=float, default=1.0)
    parser.add_argument("--every", type=float, metavar="S", help="a request each so many seconds, not at its own time")
    parser.add_argument("--pool", choices=("1", "1:1"), default="1")
    parser.add_argument("--model", default="Qwen3-8B")
    parser.add_argument("--device", default="H100")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    forecaster = Forecaster(ModelShape.from_config(find_config(options.model)[1]), load_soc(options.device))
    engine = {
        "num_gpu_blocks": 25000, "block_size": 16, "max_num_seqs": 256, "max_num_batched_tokens": 8192,
        "enable_prefix_caching": True,
    }  # fmt: skip
    times = Times.of(forecaster, engine["num_gpu_blocks"] * engine["block_size"])
    limits = [options.limit] if options.limit else []
    arrivals = list(make_trace([options.trace], ["mooncake"], limits, [options.rate_scale]))
    if options.every:
        arrivals = [one._replace(seconds=place * options.every) for place, one in enumerate(arrivals)]
    with tempfile.TemporaryDirectory() as folder:
        # The very same arrivals, so that neither scales or cuts them its own way.
        trace = Path(folder) / "trace.jsonl"
        with trace.open("w") as file:
            for one in arrivals:
                row = {"timestamp": 1e3 * one.seconds, "input_length": one.prompt, "output_length": one.output}
                file.write(json.dumps(row | {"hash_ids": list(one.blocks)}) + "\n")
        found = {"replay": theirs(trace, times, options, engine)}
    found["here"] = ours(arrivals, times, options.pool == "1:1", engine)
    table = Table(title=f"{len(arrivals):,} requests, pool {options.pool}; seconds")
    for column in ("", "ai-dynamo replay", "here", "here / replay"):
        table.add_column(column, justify="left" if not column else "right")
    for name, value in found["replay"].items():
        mine = found["here"][name]
        table.add_row(name, f"{value:.6g}", f"{mine:.6g}", f"{mine / value:.3f}" if value else "")
    Console(width=100).print(table)
    if options.json:
        options.json.write_text(json.dumps({**{k: str(v) for k, v in vars(options).items()}, **found}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
