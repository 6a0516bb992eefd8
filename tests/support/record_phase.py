# SPDX-License-Identifier: Apache-2.0
"""Records what libflexnpu.so's phase detector is fed with while serving examples run, beside what they really did.

    python tests/support/record_phase.py            # all scenarios, into tests/data/phase
    python tests/support/record_phase.py chunked    # one of them

A recording is the lines that FLEXNPU_PHASE_RECORD gives, cut down: shapes are numbered, executors and hits resolved.
`step PHASE REQUESTS TOKENS CONTEXT LONGEST GRAPH` and `end` come from the driver, which knows what it runs. A context
of `-` is one that no operator says.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from local_node import Node, eventually

from flexnpu.paths import library_dir

HERE = Path(__file__).parent
DATA = HERE.parent / "data" / "phase"
DRIVER = HERE / "phase_driver.py"
SCENARIOS = ("generate", "unfused", "chunked", "speculative", "graph", "serving", "serving_graphs")

# Two engines make a scenario of these.
PARTS = {"serving": ("decode", "prefill"), "serving_graphs": ("graphs", "prefill")}


def compact(lines: list[str]) -> Iterator[str]:
    """The recording without addresses: what each launch was, instead of which executor it had."""
    shape_of: dict[str, int] = {}
    numbers: dict[str, int] = {}
    graphs: dict[str, int] = {}

    def graph(address: str) -> str:
        return f"g{graphs.setdefault(address, len(graphs))}"

    for line in lines:
        kind, *rest = line.split()
        if kind == "tiled":
            what = " ".join(rest[1:])
            if what not in numbers:
                numbers[what] = len(numbers)
                yield f"shape {numbers[what]} {what}"
            shape_of[rest[0]] = numbers[what]
        elif kind == "kept":
            shape_of[rest[0]] = shape_of[rest[1]]
        elif kind == "hit":
            shape_of[rest[1]] = shape_of[rest[0]]
        elif kind == "launch":
            yield f"launch {shape_of[rest[0]]}"
        elif kind == "captured":
            what = f"launch {shape_of[rest[2]]}" if rest[1] == "launch" else rest[1]
            yield f"captured {graph(rest[0])} {what}"
        elif kind == "update":
            yield f"update {graph(rest[0])} {shape_of[rest[1]]}"
        elif kind in ("replay", "destroyed"):
            if rest[0] in graphs:
                yield f"{kind} {graph(rest[0])}"
        else:
            yield line


def folded(lines: Iterator[str]) -> Iterator[str]:
    """Equal lines in a row become one with how many there are."""
    before, times = "", 0
    for line in [*lines, ""]:
        if line == before:
            times += 1
            continue
        if before:
            yield before if times == 1 else f"{before} x{times}"
        before, times = line, 1


def record(scenario: str, root: Path) -> None:
    """Runs the scenario under a daemon of its own."""
    node = Node(root / "run", library_dir())
    math = "skip" if scenario in PARTS else "exact"
    node.start("--soc", "Ascend910B2", "--math", math)
    try:
        for part in PARTS.get(scenario, (scenario,)):
            run(node, root, part)
        for program in node.programs[1:]:
            if program.process.wait(timeout=240) != 0:
                raise SystemExit(f"{scenario}: {program.end()[1][-2000:]}")
    finally:
        node.clean_up()
    DATA.mkdir(parents=True, exist_ok=True)
    for part in PARTS.get(scenario, (scenario,)):
        if scenario == "serving_graphs" and part == "prefill":
            continue  # as in the scenario before
        name = f"serving_{part}" if scenario in PARTS else scenario
        lines = (root / part).read_text().splitlines()
        (DATA / f"{name}.txt").write_text("\n".join(folded(compact(lines))) + "\n")


def run(node: Node, root: Path, part: str) -> None:
    raw = root / part
    node.env["FLEXNPU_PHASE_RECORD"] = str(raw)
    command = [sys.executable, str(DRIVER), part, str(raw), str(root)]
    node.program("run", "--name", part, "--cores", "8", "--memory", "4GiB", "--", *command)
    eventually(raw.exists, within=120)


def main(chosen: list[str]) -> None:
    for scenario in chosen or SCENARIOS:
        root = Path(tempfile.mkdtemp(prefix="fx-"))
        try:
            record(scenario, root)
        finally:
            shutil.rmtree(root)
        print(scenario, "recorded", flush=True)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main(sys.argv[1:])
