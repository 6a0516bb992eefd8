# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu forecast: how long one iteration of a model takes on some cores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flexnpu.cli import options


def forecast(
    model: Annotated[Path, typer.Option(help="The model's Hugging Face config.json")],
    device: Annotated[str, typer.Option(help="SoC")] = "Ascend910B2",
    cores: Annotated[int | None, typer.Option(help="Cores of the iteration  [default: all]")] = None,
    prefill: Annotated[list[str] | None, typer.Option(help="Prompts: TOKENS, COUNTxTOKENS or TOKENS+CACHED")] = None,
    decode: Annotated[list[str] | None, typer.Option(help="Running requests: CONTEXT or COUNTxCONTEXT")] = None,
    beside_cores: Annotated[int | None, typer.Option(help="Prefill runs beside decode, on so many cores")] = None,
    as_json: options.Json = False,
) -> None:
    """Forecast one iteration, operator by operator (modelled, not measured)."""
    from flexnpu.forecast.command import run_forecast  # noqa: PLC0415 - heavy, and only needed here

    run_forecast(
        model,
        device,
        cores=cores,
        prefill=prefill or (),
        decode=decode or (),
        beside_cores=beside_cores,
        as_json=as_json,
    )
