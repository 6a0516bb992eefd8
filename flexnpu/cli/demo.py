# SPDX-License-Identifier: Apache-2.0
"""flexnpu demo: two serving engines on one software NPU, first with a fixed split, then with the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flexnpu.cli import options
from flexnpu.cli.needed import serving_needed
from flexnpu.cli.output import results


def demo(
    minutes: Annotated[
        float,
        typer.Option(min=0.01, max=5, help="How much of the trace; beyond 3 it overloads one NPU"),
    ] = 3.0,
    static: Annotated[str, typer.Option(metavar="P/D", help="The split to compare with, in cores")] = "12/12",
    json_file: options.JsonFile = None,
    png_file: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw the results there")] = None,
) -> None:
    """Replay a trace through a prefill and a decode engine that share one NPU. Takes under five minutes."""
    serving_needed()
    from flexnpu.demo.command import run_demo  # noqa: PLC0415 - heavy, and only needed here

    with results(json_file) as file:
        run_demo(minutes=minutes, static=static, json_file=file, png_file=png_file)
