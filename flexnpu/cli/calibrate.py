# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu calibrate: a measured forecast from a table, or from the device at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from flexnpu.backend import DRIVER, SoftwareOptions, software_environment
from flexnpu.cli import options
from flexnpu.environment import merged
from flexnpu.errors import BackendError, InvalidValue

_SECONDS = 300
_SLOWED = 20.0  # wall seconds per device second, so that the host's time between two events is hidden


def calibrate(
    tables: Annotated[
        list[Path] | None,
        typer.Argument(metavar="TABLE", help="File or folder of measurements; several make one profile"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="SoC that was measured  [default: what the table says]", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the profile there, as YAML")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Measure the device at hand over core counts, with torch_npu")
    ] = False,
    check: Annotated[
        float | None,
        typer.Option(metavar="PART", help="Fit on that part of the shapes alone, and tell the error on the rest"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which shapes are left out")] = 0,
    as_json: options.Json = False,
) -> None:
    """Calibrate the forecast from a table of measured operators, or live."""
    from flexnpu.forecast.command_calibrate import run_calibrate, run_measured  # noqa: PLC0415 - heavy

    if live == bool(tables):
        raise InvalidValue("calibrate needs a table or --live, one of them", next_step="see flexnpu calibrate --help")
    if live:
        run_measured(_measure(), device, out=out, as_json=as_json)
    else:
        run_calibrate(tables or [], device, out=out, check=check, seed=seed, as_json=as_json)


def _measure() -> dict[str, object]:
    """What the measuring program says for a quarter, half, three quarters and all of the cores.

    Each count has a process of its own: the device is chosen when the dynamic linker starts, and tilings are kept.
    """
    real = DRIVER.exists()
    with tempfile.TemporaryDirectory(prefix="flexnpu-calibrate-") as state:
        environment = dict(os.environ)
        if not real and "FLEXNPU_SOFTNPU_SOC" not in environment:
            software = SoftwareOptions(clock="paced", math="skip", scale=_SLOWED)
            environment = merged(os.environ, software_environment(software, Path(state)))
        whole = _answer(environment)
        total = int(whole["cores"])
        counts = sorted({max(1, total * part // 4) for part in (1, 2, 3)} - {total})
        answers = [*(_answer(environment, str(count)) for count in counts), whole]
    rows: list[dict[str, Any]] = [
        {**row, "seconds": [answer["rows"][place]["seconds"] for answer in answers]}
        for place, row in enumerate(whole["rows"])
    ]
    return {"soc": whole["soc"], "cores": [*counts, total], "rows": rows, "modelled": not real}


def _answer(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "flexnpu.forecast.calibration_live", *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"the device did not finish within {_SECONDS} s", next_step="see flexnpu ps") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BackendError(f"the device could not be measured ({reason})", next_step="check torch_npu on this machine")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
