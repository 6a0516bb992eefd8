# SPDX-License-Identifier: Apache-2.0
"""`flexnpu demo`: set up, calibrate, replay twice, report."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from rich.console import Console

from flexnpu.controller.config import parse_split
from flexnpu.demo.calibrate import Calibration, calibrate
from flexnpu.demo.live import Progress, result_table
from flexnpu.demo.picture import draw
from flexnpu.demo.replay import Replay
from flexnpu.demo.report import MODELLED, Run, Targets, document, summarise
from flexnpu.demo.stack import MODEL, SOC, Stack
from flexnpu.demo.trace import HEAD, Arrival, read_azure, shorten_gaps
from flexnpu.errors import InvalidValue
from flexnpu.hardware import load_soc
from flexnpu.planner import Split

# Device seconds. Under a split in halves the longest burst of these minutes is worked off well within them.
LONGEST_GAP = 6.0
CONTROLLED = "controller"


def run_demo(*, minutes: float, static: str, json_file: Path | None = None, png_file: Path | None = None) -> None:
    """Runs the whole demo on the first `minutes` of the trace, the controller against the split `static`, as "12/12".

    Prints a table, writes JSON and picture where asked. Raises flexnpu.errors.
    """
    console = Console(soft_wrap=not sys.stdout.isatty())
    for file in (json_file, png_file):
        _must_be_writable(file)
    split = _on_device(parse_split(static, "--static"))
    targets = Targets()
    arrivals = shorten_gaps(read_azure(HEAD, minutes), LONGEST_GAP)
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        console.print(f"starting a daemon on a software {SOC}, and two engines of {MODEL.stem} on it …")
        with Stack(split) as stack:
            console.print("measuring how fast this host's Python is beside the modelled device …")
            calibration = calibrate(stack.ports["prefill"], stack.state_file)
            _tell(console, calibration, len(arrivals), minutes)
            policy = f"static {split.prefill}/{split.decode}"
            runs = [
                _replay(stack, policy, arrivals, calibration, console),
                _controlled(stack, arrivals, calibration, console),
            ]
    finally:
        signal.signal(signal.SIGTERM, before)
    console.print(result_table([summarise(run, targets) for run in runs], targets, calibration.scale))
    setting = {
        "soc": SOC,
        "model": MODEL.stem,
        "trace": HEAD.name,
        "minutes": minutes,
        "static": split._asdict(),
        "longest_gap": LONGEST_GAP,
        **asdict(calibration),
    }
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(document(runs, targets, setting), indent=1) + "\n")
        console.print(f"wrote {json_file}")
    if png_file is not None:
        draw(png_file, runs, targets, calibration.scale)
        console.print(f"wrote {png_file}")


def _controlled(stack: Stack, arrivals: Sequence[Arrival], calibration: Calibration, console: Console) -> Run:
    journal = stack.root / "decisions.jsonl"
    controller = stack.start_controller(journal, "1s", "50ms")
    time.sleep(1.0)  # it reads both engines before the first request comes
    run = _replay(stack, CONTROLLED, arrivals, calibration, console)
    stack.check()
    stack.stop(controller)
    records = (json.loads(line) for line in journal.read_text().splitlines())
    moves = [record["applied"] for record in records if record["kind"] == "decision" and record["moved"]]
    applied = tuple(float(move["wall_seconds"]) if move["done"] else None for move in moves)
    return Run(run.policy, run.requests, run.cores, applied)


def _replay(stack: Stack, policy: str, arrivals: Sequence[Arrival], calibration: Calibration, console: Console) -> Run:
    replay = Replay(stack.ports["prefill"], arrivals, calibration.scale)
    with Progress(console, policy, len(arrivals)) as progress:
        cores = replay.run(stack.split, progress)
    stack.check()
    return Run(policy, replay.served, cores)


def _tell(console: Console, calibration: Calibration, requests: int, minutes: float) -> None:
    host, device = calibration.host, calibration.device
    console.print(
        f"a decode step takes {host.decode * 1e3:.1f} ms of Python and {device.decode * 1e3:.1f} ms of device time; "
        f"a short prefill {host.prefill * 1e3:.1f} and {device.prefill * 1e3:.1f} ms"
    )
    console.print(f"so {calibration.scale:g} wall seconds make one device second; {MODELLED}")
    console.print(
        f"replaying {requests} requests, the first {minutes:g} minutes of the Azure code trace "
        f"(gaps over {LONGEST_GAP:g} s shortened), with a static split, then with the controller"
    )


def _on_device(split: Split) -> Split:
    cores = load_soc(SOC).cube_cores
    if min(split) < 1 or sum(split) > cores:
        raise InvalidValue(
            f"--static {split.prefill}/{split.decode}: both need a core, and {SOC} has {cores}",
            next_step="choose at least 1 of each, and no more than that together",
        )
    return split


def _must_be_writable(file: Path | None) -> None:
    """Before minutes have gone into what cannot be kept."""
    if file is None:
        return
    there = next(each for each in (file, *file.absolute().parents) if each.exists())
    try:
        with file.open("ab") if there == file else tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InvalidValue(f"{file} cannot be written ({error.strerror})", next_step="name another file") from error


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
