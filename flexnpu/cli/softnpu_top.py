# SPDX-License-Identifier: Apache-2.0
"""flexnpu softnpu top: who holds which cores of the software devices, now and over the last interval."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from flexnpu.cli import options
from flexnpu.cli.listing import Column, Listing
from flexnpu.cli.live import Board
from flexnpu.cli.softnpu import STATE_PREFIX
from flexnpu.paths import RuntimeDir
from flexnpu.softnpu import DeviceProcess, DeviceState, StateError, read_state
from flexnpu.units import format_size

_MOST_PROGRAM = 120  # characters
_LOOK_EVERY = 0.02  # s; tasks are shorter, so what is shown is a share of many looks


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """A device over an interval: as it was last, and the cube cores that each process held on average."""

    path: Path
    state: DeviceState
    mean_cores: dict[int, float]  # by pid


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A process on a device."""

    device: str
    process: DeviceProcess
    mean_cores: float
    program: str


_LISTING = (
    Column[Row]("device", "d", lambda row: row.device, rising=True),
    Column[Row]("pid", "p", lambda row: str(row.process.pid), lambda row: row.process.pid, rising=True),
    Column[Row]("cores now", "n", lambda row: str(row.process.cores_held), lambda row: row.process.cores_held),
    Column[Row]("cores mean", "c", lambda row: f"{row.mean_cores:.1f}", lambda row: row.mean_cores),
    Column[Row]("memory", "m", lambda row: format_size(row.process.memory_used), lambda row: row.process.memory_used),
    Column[Row]("program", "a", lambda row: row.program[:_MOST_PROGRAM], rising=True),
)


def top(
    state: Annotated[Path | None, typer.Argument(help="A state directory  [default: all of this user]")] = None,
    interval: options.Interval = 1.0,
    once: options.Once = False,
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Show who holds which cores and how much memory of the software devices (modelled)."""
    board = Board[list[Sight], Row](
        look=lambda seconds: _watch(_device_files(state, runtime_dir), seconds),
        head=_head,
        rows=_rows,
        listing=Listing(_LISTING, lambda row: f"{row.process.pid} {row.program}", sort="c"),
        plain=lambda sights: {"devices": [_plain(sight) for sight in sights]},
    )
    board.run(interval, once=once, as_json=as_json)


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


def _head(sights: list[Sight]) -> list[Text]:
    if not sights:
        return [Text("no program is on a software device")]
    return [Text(_line(sight), style="bold", no_wrap=True, overflow="ellipsis") for sight in sights]


def _line(sight: Sight) -> str:
    state = sight.state
    busy = sum(sight.mean_cores.values())
    clock = f"paced, {state.scale:g} s per device second" if state.paced else "free clock: tasks take no time"
    memory = f"{format_size(state.memory_used)} of {format_size(state.memory_total)}"
    return f"{sight.path}: {state.soc}, modelled, {clock}; {busy:.1f} of {state.cube_cores} cores, {memory}"


def _rows(sights: list[Sight]) -> list[Row]:
    return [
        Row(sight.path.name, process, sight.mean_cores[process.pid], _program(process.pid))
        for sight in sights
        for process in sight.state.processes
    ]
