# SPDX-License-Identifier: Apache-2.0
"""`flexnpu demo`: the first minutes of a trace on the experiment's stack, a static split against the controller."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from flexnpu.controller.config import parse_split
from flexnpu.errors import InvalidValue
from flexnpu.experiment.arrivals import shorten_gaps
from flexnpu.experiment.calibrate import calibrate
from flexnpu.experiment.description import DATA
from flexnpu.experiment.live import result_table
from flexnpu.experiment.picture import Panel, draw
from flexnpu.experiment.report import MODELLED, Run, Targets, run_entry, summarise, to_json
from flexnpu.experiment.session import Session, ends_on_sigterm
from flexnpu.experiment.stack import MODEL, SOC, Quota, Stack
from flexnpu.hardware import load_soc
from flexnpu.planner import Split
from flexnpu.simulator import Arrival
from flexnpu.simulator.outputs import Outputs
from flexnpu.simulator.traces import make_trace

SCHEMA = 2
TRACE = DATA / "azure_code_2023_head.csv"
# Device seconds. Under a split in halves the longest burst of these minutes is worked off well within them.
LONGEST_GAP = 6.0
CONTROLLED = "controller"


def run_demo(*, minutes: float, static: str, json_file: Path | None = None, png_file: Path | None = None) -> None:
    """Runs the whole demo on the first `minutes` of the trace, the controller against the split `static`, as "12/12".

    Prints a table, writes JSON and picture where asked. Raises flexnpu.errors.
    """
    console = Console(soft_wrap=not sys.stdout.isatty())
    split = _on_device(parse_split(static, "--static"))
    quotas = {role: Quota(cores) for role, cores in split._asdict().items()}
    targets = Targets()
    arrivals = shorten_gaps(_first(minutes), LONGEST_GAP)
    with ends_on_sigterm(), Outputs([json_file, png_file]) as outputs:
        console.print(f"starting a daemon on a software {SOC}, and two engines of {MODEL.stem} on it …")
        with Stack(quotas) as stack:
            console.print("measuring how fast this host's Python is beside the modelled device …")
            calibration = calibrate(stack.ports["prefill"], stack.state_file)
            session = Session(stack, calibration, console)
            session.tell()
            console.print(
                f"replaying {len(arrivals)} requests, the first {minutes:g} minutes of the Azure code trace "
                f"(gaps over {LONGEST_GAP:g} s shortened), with a static split, then with the controller"
            )
            runs = [
                session.static(f"static {split.prefill}/{split.decode}", quotas, arrivals),
                session.controlled(CONTROLLED, "split", quotas, arrivals, targets),
            ]
        console.print(result_table([summarise(run, targets) for run in runs], targets, calibration.scale))
        setting = {
            "soc": SOC,
            "model": MODEL.stem,
            "trace": TRACE.name,
            "minutes": minutes,
            "static": split._asdict(),
            "longest_gap": LONGEST_GAP,
            **asdict(calibration),
        }
        if json_file is not None:
            outputs.stream(json_file).write(to_json(document(runs, targets, setting)) + "\n")
        if png_file is not None:
            stream = outputs.stream(png_file)
            assert isinstance(stream, io.TextIOWrapper)
            title = (
                f"Prefill and decode of Qwen2.5-7B's shape on one {SOC}, Azure code trace\n"
                f"device time, modelled on the software NPU (clock slowed {calibration.scale:g} times)"
            )
            draw(stream.buffer, [Panel("", runs)], targets, load_soc(SOC).cube_cores, title)
    for file in (json_file, png_file):
        if file is not None:
            console.print(f"wrote {file}")


def document(runs: Sequence[Run], targets: Targets, setting: dict[str, object]) -> dict[str, object]:
    """The JSON of the demo; docs/demo.md names the fields."""
    return {
        "schema": SCHEMA,
        "note": MODELLED,
        "setting": setting,
        "targets": asdict(targets),
        "runs": [run_entry(run, targets) for run in runs],
    }


def _first(minutes: float) -> list[Arrival]:
    trace = make_trace([str(TRACE)], ["azure"])
    return list(itertools.takewhile(lambda arrival: arrival.seconds < minutes * 60, trace))


def _on_device(split: Split) -> Split:
    cores = load_soc(SOC).cube_cores
    if min(split) < 1 or sum(split) > cores:
        raise InvalidValue(
            f"--static {split.prefill}/{split.decode}: both need a core, and {SOC} has {cores}",
            next_step="choose at least 1 of each, and no more than that together",
        )
    return split
