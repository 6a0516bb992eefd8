# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu controller: moves cores between the engines of LLM services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flexnpu.cli import options


def controller(
    prefill: Annotated[
        str | None, typer.Option(help="NAME=URL: the prefill vNPU and its engine; NAME: its steps are followed")
    ] = None,
    decode: Annotated[str | None, typer.Option(help="NAME=URL or NAME: the same for decode")] = None,
    model: Annotated[Path | None, typer.Option(help="The model's Hugging Face config.json")] = None,
    profile: Annotated[Path | None, typer.Option(help="A calibrated forecast (flexnpu calibrate)")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML with these options, or with several services; read anew at SIGHUP")
    ] = None,
    ttft: Annotated[str | None, typer.Option(help="Target of the time to the first token [default: 1s]")] = None,
    itl: Annotated[str | None, typer.Option(help="Target of the time between tokens [default: 50ms]")] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="split, co-located, disaggregated, pinned (with --pin), or a dry run: observe, observe:MODE "
            "[default: split]"
        ),
    ] = None,
    pin: Annotated[str | None, typer.Option(help="PREFILL/DECODE cores that are held in mode pinned")] = None,
    period: Annotated[str | None, typer.Option(help="Longest time between decisions [default: 50ms]")] = None,
    decisions: Annotated[Path | None, typer.Option(help="Write every decision there, as JSON lines")] = None,
    safe: Annotated[str | None, typer.Option(help="PREFILL/DECODE cores while an engine cannot be read")] = None,
    minima: Annotated[str | None, typer.Option(help="PREFILL/DECODE cores that are never undercut")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing about moves")] = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Keep LLM services inside their latency targets, until SIGTERM or SIGINT. Times are device time."""
    from flexnpu.controller.command import run_controller  # noqa: PLC0415 - heavy, and only needed here
    from flexnpu.controller.config import read_options  # noqa: PLC0415

    given = {
        "prefill": prefill,
        "decode": decode,
        "model": model,
        "profile": profile,
        "ttft": ttft,
        "itl": itl,
        "mode": mode,
        "pin": pin,
        "period": period,
        "decisions": decisions,
        "safe": safe,
        "minima": minima,
    }
    run_controller(lambda: read_options(given, config, runtime_dir), quiet=quiet)
