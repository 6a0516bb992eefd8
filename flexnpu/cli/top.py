# SPDX-License-Identifier: Apache-2.0
"""flexnpu softnpu top: who holds which cores of the software devices, now and over the last interval."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from flexnpu.cli import options
from flexnpu.cli.softnpu import STATE_PREFIX
from flexnpu.errors import InvalidValue
from flexnpu.paths import RuntimeDir
from flexnpu.softnpu import DeviceState, StateError, read_state
from flexnpu.units import format_size

_LOOK_EVERY = 0.02  # s; tasks are shorter, so what is shown is a share of many looks


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """A device over an interval: as it was last, and the cube cores that each process held on average."""

    path: Path
    state: DeviceState
    mean_cores: dict[int, float]  # by pid


def top(
    state: Annotated[Path | None, typer.Argument(help="A state directory  [default: all of this user]")] = None,
    interval: Annotated[float, typer.Option(help="Seconds that are looked at before each line is drawn")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One interval, then end")] = False,
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Show who holds which cores and how much memory of the software devices (modelled)."""
    if not 0.05 <= interval <= 60:
        raise InvalidValue(
            f"--interval {interval:g}: must be 0.05 to 60 seconds", next_step="leave it out for 1 second"
        )

    def watch() -> list[Sight]:
        return _watch(_device_files(state, runtime_dir), interval)

    if as_json:
        while True:
            typer.echo(json.dumps({"devices": [_plain(sight) for sight in watch()]}, indent=2 if once else None))
            if once:
                return
    console = Console()
    if once:
        console.print(_drawn(watch()))
        return
    with Live(_drawn(watch()), console=console, auto_refresh=False) as live:
        while True:
            live.update(_drawn(watch()), refresh=True)


def _device_files(state: Path | None, runtime_dir: Path | None) -> list[Path]:
    if state is not None:
        directories: Iterable[Path] = [state]
        if not state.is_dir():
            raise StateError(
                f"state directory {str(state)!r} is not there; is a program running on the software device?"
            )
    else:
        directories = [
            *sorted(Path(tempfile.gettempdir()).glob(STATE_PREFIX + "*")),
            RuntimeDir.find(runtime_dir).softnpu,
        ]
    return [file for directory in directories for file in sorted(directory.glob("device[0-9]*"))]


def _watch(files: list[Path], interval: float) -> list[Sight]:
    held: dict[Path, dict[int, int]] = {file: defaultdict(int) for file in files}
    last: dict[Path, DeviceState] = {}
    looks = 0
    end = time.monotonic() + interval
    while looks == 0 or time.monotonic() < end:
        for file in files:
            try:
                last[file] = read_state(file)
            except StateError:  # its programs have ended meanwhile, or are of another version
                last.pop(file, None)
                continue
            for process in last[file].processes:
                held[file][process.pid] += process.cores_held
        looks += 1
        time.sleep(_LOOK_EVERY)
    return [
        Sight(file, now, {process.pid: held[file][process.pid] / looks for process in now.processes})
        for file, now in last.items()
        if now.processes
    ]


def _program(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "(ended)"
    return b" ".join(words).decode(errors="replace").strip()


def _plain(sight: Sight) -> dict[str, Any]:
    state = sight.state
    return {
        "state": str(sight.path),
        "soc": state.soc,
        "clock": "paced" if state.paced else "free",
        "modelled": True,
        "cube_cores": state.cube_cores,
        "memory_total": state.memory_total,
        "memory_used": state.memory_used,
        "processes": [
            {
                "pid": process.pid,
                "program": _program(process.pid),
                "cores_held": process.cores_held,
                "cores_mean": round(sight.mean_cores[process.pid], 2),
                "memory_used": process.memory_used,
            }
            for process in state.processes
        ],
    }


def _drawn(sights: list[Sight]) -> Group | str:
    if not sights:
        return "no program is on a software device"
    tables = []
    for sight in sights:
        state = sight.state
        busy = sum(sight.mean_cores.values())
        clock = f"paced, {state.scale:g} s per device second" if state.paced else "free clock: tasks take no time"
        table = Table(
            "pid",
            "cores now",
            "cores mean",
            "memory",
            "program",
            title=f"{sight.path}: {state.soc}, modelled, {clock}; {busy:.1f} of {state.cube_cores} cores, "
            f"{format_size(state.memory_used)} of {format_size(state.memory_total)}",
            title_justify="left",
        )
        for process in sorted(state.processes, key=lambda each: -sight.mean_cores[each.pid]):
            mean = f"{sight.mean_cores[process.pid]:.1f}"
            memory = format_size(process.memory_used)
            table.add_row(str(process.pid), str(process.cores_held), mean, memory, _program(process.pid)[:80])
        tables.append(table)
    return Group(*tables)
