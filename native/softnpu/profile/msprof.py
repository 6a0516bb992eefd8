# SPDX-License-Identifier: Apache-2.0
"""Makes a time line and tables of what profiling on the software NPU wrote, as CANN's msprof command does.

    msprof --export=on --output=PROF_…     mindstudio_profiler_output/{msprof,op_summary,op_statistic,task_time}_*
    msprof --analyze=on --output=PROF_…    nothing to do: links have no counters

Only Python's own library is used: the command runs under whatever python3 there is. Starts and the time line are wall
time; durations in the tables are device time, which is modelled with the paced clock and the host's with the free one.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUTPUT = "mindstudio_profiler_output"
CANN, HARDWARE, OVERLAP, MARKS = range(4)  # processes of the time line
COMPUTE = ("AI_CORE", "AI_VECTOR_CORE", "MIX_AIC")
COMMUNICATION = "COMMUNICATION"

Event = dict[str, Any]
Interval = tuple[int, int]


class ExportError(Exception):
    """What is asked for cannot be exported; one line."""


@dataclass(frozen=True)
class Task:
    """One task of a device; times in ns of the epoch, `device_ns` its length in device time."""

    device: int
    number: int
    launched_ns: int
    thread: int
    started_ns: int
    ended_ns: int
    device_ns: int
    stream: int
    blocks: int
    type: str
    name: str

    @property
    def is_kernel(self) -> bool:
        return self.type in COMPUTE or self.type == COMMUNICATION

    @property
    def op_type(self) -> str:
        return self.name.removeprefix("aclnn")


@dataclass(frozen=True)
class Mark:
    """A moment (both times the same) or a range; `row` is a thread of the host, or of a device a stream."""

    started_ns: int
    ended_ns: int
    device: int | None
    row: int
    domain: str
    message: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="msprof", description=__doc__.splitlines()[0])
    parser.add_argument("--export", choices=["on", "off"], default="off")
    parser.add_argument("--analyze", choices=["on", "off"], default="off")
    parser.add_argument("--type", choices=["text", "db"], default="text")
    parser.add_argument("--output", type=Path, required=True, help="a PROF_… folder")
    options = parser.parse_args()
    try:
        if options.export == "on":
            export(options.output, options.type)
    except (ExportError, OSError) as error:
        print(f"msprof: error: {error}", file=sys.stderr)
        return 1
    return 0


def export(folder: Path, type_: str) -> None:
    """Write everything that `folder` has into its OUTPUT."""
    if type_ == "db":
        raise ExportError("the software NPU exports text alone; use --type=text (ExportType.Text in torch_npu)")
    offset = epoch_offset(folder)
    tasks = list(read_tasks(folder, offset))
    output = folder / OUTPUT
    output.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%d%H%M%S")
    events = [*time_line(tasks), *mark_events(read_marks(folder, offset))]
    (output / f"msprof_{stamp}.json").write_text(json.dumps(events))
    write_table(output / f"task_time_{stamp}.csv", task_times(tasks))
    write_table(output / f"op_statistic_{stamp}.csv", op_statistic(tasks))
    write_table(output / f"op_summary_{stamp}.csv", op_summary(tasks))
    # torch_npu looks for a table ten times a second, and gives the analysis up if it sees one only after this command.
    time.sleep(0.3)


def epoch_offset(folder: Path) -> int:
    """What makes nanoseconds of the epoch of CLOCK_MONOTONIC_RAW."""
    try:
        clocks = json.loads((folder / "host" / "start_info").read_text())
        return int(clocks["collectionTimeBegin"]) * 1000 - int(clocks["clockMonotonicRaw"])
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"{folder} was not written by the software NPU's profiling ({error})") from error


def rows(file: Path, columns: int) -> Iterator[list[str]]:
    """Lines of a file of columns; a last one that was cut short by the end of its process is left out."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if line.endswith("\n") and len(fields) == columns:
                yield fields


def read_tasks(folder: Path, offset: int) -> Iterator[Task]:
    for file in sorted(folder.glob("device_*/data/tasks.tsv")):
        device = int(file.parent.parent.name.removeprefix("device_"))
        for number, fields in enumerate(rows(file, 9)):
            launched, thread, started, ended, taken, stream, blocks = map(int, fields[:7])
            times = (launched + offset, thread, started + offset, ended + offset, taken)
            yield Task(device, number, *times, stream, blocks, *fields[7:])


def read_marks(folder: Path, offset: int) -> Iterator[Mark]:
    for fields in rows(folder / "host" / "data" / "marks.tsv", 6):
        started, ended, device, row = map(int, fields[:4])
        yield Mark(started + offset, ended + offset, device if device >= 0 else None, row, *fields[4:])


def us(ns: int) -> str:
    """Microseconds with three places, exact."""
    return f"{ns // 1000}.{ns % 1000:03d}"


# --- the time line ---


def process_id(kind: int, device: int = 0) -> int:
    return 1000 * (kind + 1) + device


def named_process(pid: int, name: str, label: str) -> Iterator[Event]:
    for kind, arguments in (
        ("process_name", {"name": name}),
        ("process_labels", {"labels": label}),
        ("process_sort_index", {"sort_index": pid}),
    ):
        yield {"name": kind, "pid": pid, "tid": 0, "args": arguments, "ph": "M"}


def named_thread(pid: int, tid: int, name: str) -> Event:
    return {"name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}, "ph": "M"}


def span(pid: int, tid: int, name: str, start: int, end: int, **arguments: object) -> Event:
    return {
        "name": name,
        "pid": pid,
        "tid": tid,
        "ts": us(start),
        "dur": (end - start) / 1000,
        "args": arguments,
        "ph": "X",
    }


def time_line(tasks: list[Task]) -> Iterator[Event]:
    """Launches, tasks by stream, an arrow from each launch to its task, and who waited for whom."""
    host = process_id(CANN)
    if tasks:
        yield from named_process(host, "CANN", "CPU")
    for thread in sorted({task.thread for task in tasks}):
        yield named_thread(host, thread, f"Thread {thread}")
    for device in sorted({task.device for task in tasks}):
        own = [task for task in tasks if task.device == device]
        hardware = process_id(HARDWARE, device)
        yield from named_process(hardware, "Ascend Hardware", f"NPU {device}")
        for stream in sorted({task.stream for task in own}):
            yield named_thread(hardware, stream, f"Stream {stream}")
        yield from overlap(own, device)
    for connection, task in enumerate(tasks):
        hardware = process_id(HARDWARE, task.device)
        yield span(host, task.thread, f"AscendCL@{task.name}", task.launched_ns, task.launched_ns, level="acl")
        yield span(
            hardware,
            task.stream,
            task.name,
            task.started_ns,
            task.ended_ns,
            **{"Task Type": task.type, "Stream Id": task.stream, "Task Id": task.number, "connection_id": connection},
        )
        flow = {"name": f"HostToDevice{connection}", "cat": "HostToDevice", "id": str(connection)}
        yield flow | {"ph": "s", "pid": host, "tid": task.thread, "ts": us(task.launched_ns)}
        yield flow | {"ph": "f", "bp": "e", "pid": hardware, "tid": task.stream, "ts": us(task.started_ns)}


def overlap(tasks: list[Task], device: int) -> Iterator[Event]:
    """When the device computed, communicated, did only that, and did nothing."""
    computing = union((task.started_ns, task.ended_ns) for task in tasks if task.type in COMPUTE)
    communicating = union((task.started_ns, task.ended_ns) for task in tasks if task.type == COMMUNICATION)
    busy = union([*computing, *communicating])
    whole = [(busy[0][0], busy[-1][1])] if busy else []
    parts = {
        "Computing": computing,
        "Communication": communicating,
        "Communication(Not Overlapped)": without(communicating, computing),
        "Free": without(whole, busy),
    }
    pid = process_id(OVERLAP, device)
    yield from named_process(pid, "Overlap Analysis", f"NPU {device}")
    for tid, (name, intervals) in enumerate(parts.items()):
        yield named_thread(pid, tid, name)
        for start, end in intervals:
            yield span(pid, tid, name, start, end)


def union(intervals: Iterable[Interval]) -> list[Interval]:
    joined: list[Interval] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def without(intervals: list[Interval], taken: list[Interval]) -> list[Interval]:
    """What of `intervals` is not in `taken`; both sorted and each without overlaps."""
    left: list[Interval] = []
    for start, end in intervals:
        at = start
        for from_, to in taken:
            if to <= at or from_ >= end:
                continue
            if from_ > at:
                left.append((at, from_))
            at = max(at, to)
        if at < end:
            left.append((at, end))
    return left


def mark_events(marks: Iterable[Mark]) -> Iterator[Event]:
    named: set[int | None] = set()
    for mark in marks:
        pid = process_id(MARKS, 0 if mark.device is None else mark.device + 1)
        if mark.device not in named:
            named.add(mark.device)
            yield from named_process(pid, "Marks", "CPU" if mark.device is None else f"NPU {mark.device}")
        yield span(pid, mark.row, mark.message, mark.started_ns, mark.ended_ns, domain=mark.domain)


# --- tables ---

Rows = list[dict[str, Any]]


def write_table(file: Path, table: Rows) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fieldnames=list(table[0]) if table else [])
        if table:
            writer.writeheader()
            writer.writerows(table)


def op_summary(tasks: list[Task]) -> Rows:
    """One row per operator, with how long it waited for its stream after the one before it."""
    table: Rows = []
    ended: dict[tuple[int, int], int] = {}
    for task in sorted(tasks, key=lambda each: each.started_ns):
        if not task.is_kernel:
            continue
        before = ended.get((task.device, task.stream), task.started_ns)
        ended[task.device, task.stream] = task.ended_ns
        table.append(
            {
                "Device_id": task.device,
                "Model ID": 4294967295,
                "Task ID": task.number,
                "Stream ID": task.stream,
                "Op Name": task.name,
                "OP Type": task.op_type,
                "OP State": "dynamic",
                "Task Type": task.type,
                "Task Start Time(us)": us(task.started_ns) + "\t",
                "Task Duration(us)": us(task.device_ns),
                "Task Wait Time(us)": us(max(0, task.started_ns - before)),
                "Block Num": task.blocks,
            }
        )
    return table


def op_statistic(tasks: list[Task]) -> Rows:
    groups: dict[tuple[int, str, str], list[int]] = defaultdict(list)
    for task in tasks:
        if task.is_kernel:
            groups[task.device, task.op_type, task.type].append(task.device_ns)
    total = sum(sum(times) for times in groups.values()) or 1
    return [
        {
            "Device_id": device,
            "OP Type": op_type,
            "Core Type": core,
            "Count": len(times),
            "Total Time(us)": us(sum(times)),
            "Min Time(us)": us(min(times)),
            "Avg Time(us)": us(sum(times) // len(times)),
            "Max Time(us)": us(max(times)),
            "Ratio(%)": f"{100 * sum(times) / total:.3f}",
        }
        for (device, op_type, core), times in sorted(groups.items(), key=lambda group: -sum(group[1]))
    ]


def task_times(tasks: list[Task]) -> Rows:
    return [
        {
            "Device_id": task.device,
            "kernel_name": task.name,
            "kernel_type": task.type,
            "stream_id": task.stream,
            "task_id": task.number,
            "task_time(us)": us(task.device_ns),
            "task_start(us)": us(task.started_ns) + "\t",
            "task_stop(us)": us(task.ended_ns) + "\t",
        }
        for task in tasks
    ]


if __name__ == "__main__":
    sys.exit(main())
