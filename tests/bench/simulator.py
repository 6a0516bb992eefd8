# SPDX-License-Identifier: Apache-2.0
"""How quickly a trace is simulated, by policy: make bench-simulator

    python tests/bench/simulator.py [--trace FILE --format FORMAT] [--policy NAME,…] [--turns N] [--json FILE]

Processor time of one process, reading the trace and collecting all results included. Policies go in turns and the
least of all turns counts, since what disturbs a run only adds. What part of it policies take is from one more run, by
the wall clock, because to ask for processor time costs as much as a plan. Without a trace, a synthetic load of as many
requests and about as many tokens as Mooncake's conversations is taken.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flexnpu.errors import FlexNpuError
from flexnpu.forecast import Forecaster
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config
from flexnpu.planner import Looks, PhaseForecaster, Plan, Policy, Snapshot
from flexnpu.simulator.policies import parse_policies
from flexnpu.simulator.results import Collector
from flexnpu.simulator.run import Setup, config_for, run
from flexnpu.simulator.slo import parse_slo
from flexnpu.simulator.traces import Trace, make_trace, totals

SYNTHETIC = "rate=3.4,requests=12031,prompt=12035,output=343,seed=1"
Row = dict[str, Any]


class Timed:
    """A policy, and the time that it takes."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.name, self.layout = policy.name, policy.layout
        self.looks = getattr(policy, "looks", Looks.ALL)
        self.seconds, self.plans = 0.0, 0

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        start = time.perf_counter()
        plan = self._policy.plan(snapshot, forecaster)
        self.seconds += time.perf_counter() - start
        self.plans += 1
        return plan


def once(policy: Policy, trace: Trace, options: argparse.Namespace) -> Collector:
    """One run with all that it needs made afresh, as the command makes it."""
    slo = parse_slo(options.slo, "mean")
    forecaster = Forecaster(ModelShape.from_config(find_config(options.model)[1]), load_soc(options.device))
    devices = (1, 1) if ":" in policy.layout else (1, 0)
    return run(trace, policy, Setup(forecaster, slo, config_for(slo, devices=devices)))


def measure(trace: Trace, options: argparse.Namespace) -> list[Row]:
    policies = parse_policies(options.policy)
    seconds: dict[str, list[float]] = {named.name: [] for named in policies}
    for _ in range(options.turns):
        for name, policy, _ in policies:
            start = time.process_time()
            once(policy, trace, options)
            seconds[name].append(time.process_time() - start)
    return [_row(name, policy, min(seconds[name]), trace, options) for name, policy, _ in policies]


def _row(name: str, policy: Policy, seconds: float, trace: Trace, options: argparse.Namespace) -> Row:
    timed, start = Timed(policy), time.perf_counter()
    collector = once(timed, trace, options)
    share = timed.seconds / (time.perf_counter() - start)
    return {
        "policy": name, "seconds": seconds, "requests_per_second": collector.requests / seconds,
        "planning_share": share, "plans": timed.plans, "attainment": collector.attainment,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def show(rows: list[Row], requests: int) -> None:
    table = Table(title=f"Processor time for {requests:,} requests")
    for column in ("policy", "s", "planning", "plans", "requests/s", "process peak, MiB"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    for row in rows:
        shown = f"{row['seconds']:.2f}", f"{row['planning_share']:.0%}", f"{row['plans']:,}"
        table.add_row(row["policy"], *shown, f"{row['requests_per_second']:,.0f}", f"{row['peak_mib']:.0f}")
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trace", default=SYNTHETIC)
    parser.add_argument("--format", default="synthetic")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--rate-scale", type=float, default=1.0)
    parser.add_argument("--policy", default="all")
    parser.add_argument("--model", default="Qwen3-8B")
    parser.add_argument("--device", default="H100")
    parser.add_argument("--slo", default="ttft=2s,itl=100ms")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        limits = [options.limit] if options.limit else []
        trace = make_trace([options.trace], [options.format], limits, [options.rate_scale])
        counted = totals(trace)
        rows = measure(trace, options)
    except FlexNpuError as error:
        sys.exit(f"flexnpu: error: {error}")
    show(rows, counted.requests)
    if options.json:
        asked = {key: value for key, value in vars(options).items() if key != "json"}
        options.json.write_text(json.dumps({**asked, "requests": counted.requests, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
