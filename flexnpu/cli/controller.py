# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu controller: moves cores between a prefill and a decode vNPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flexnpu.cli import options


def controller(
    prefill: Annotated[str, typer.Option(help="NAME=URL: the prefill vNPU and its engine")],
    decode: Annotated[str, typer.Option(help="NAME=URL: the decode vNPU and its engine")],
    model: Annotated[Path, typer.Option(help="The model's Hugging Face config.json")],
    ttft: Annotated[str, typer.Option(help="Target of the time to the first token")] = "1s",
    itl: Annotated[str, typer.Option(help="Target of the time between tokens")] = "50ms",
    period: Annotated[str, typer.Option(help="Time between decisions")] = "50ms",
    decisions: Annotated[Path | None, typer.Option(help="Write every decision there, as JSON lines")] = None,
    safe: Annotated[str | None, typer.Option(help="PREFILL/DECODE cores while an engine cannot be read")] = None,
    minima: Annotated[str | None, typer.Option(help="PREFILL/DECODE cores that are never undercut")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing about moves")] = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Keep prefill and decode inside their latency targets, until SIGTERM or SIGINT. Times are device time."""
    from flexnpu.controller.command import run_controller  # noqa: PLC0415 - heavy, and only needed here

    run_controller(
        prefill,
        decode,
        model,
        ttft,
        itl,
        decisions=decisions,
        runtime_dir=runtime_dir,
        period=period,
        safe=safe,
        minima=minima,
        quiet=quiet,
    )
