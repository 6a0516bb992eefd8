# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu forecast: how long one iteration of a model takes on some cores; flexnpu forecast table: operators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flexnpu.cli import options
from flexnpu.errors import InvalidValue

Profile = Annotated[Path | None, typer.Option(help="Measured forecast, as flexnpu calibrate writes it")]


def forecast(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="Hugging Face config.json, its folder, or a name that ships")
    ] = None,
    device: Annotated[str, typer.Option(help="SoC")] = "Ascend910B2",
    cores: Annotated[int | None, typer.Option(help="Cores of the iteration  [default: all]")] = None,
    prefill: Annotated[list[str] | None, typer.Option(help="Prompts: TOKENS, COUNTxTOKENS or TOKENS+CACHED")] = None,
    decode: Annotated[list[str] | None, typer.Option(help="Running requests: CONTEXT or COUNTxCONTEXT")] = None,
    beside_cores: Annotated[int | None, typer.Option(help="Prefill runs beside decode, on so many cores")] = None,
    profile: Profile = None,
    tensor_parallel: options.TensorParallel = 1,
    expert_parallel: options.ExpertParallel = 1,
    weight_dtype: options.WeightDtype = None,
    kv_dtype: options.KvDtype = None,
    as_json: options.Json = False,
) -> None:
    """Forecast one iteration, operator by operator (modelled, not measured)."""
    if context.invoked_subcommand is not None:
        return
    if model is None:
        raise InvalidValue(
            "--model is missing", next_step="give the model's config.json, or a table to flexnpu forecast table"
        )
    from flexnpu.forecast.command import run_forecast  # noqa: PLC0415 - heavy, and only needed here
    from flexnpu.llm import Parallel  # noqa: PLC0415 - heavy, and only needed here

    run_forecast(
        model,
        device,
        cores=cores,
        prefill=prefill or (),
        decode=decode or (),
        beside_cores=beside_cores,
        profile=profile,
        parallel=Parallel(tensor_parallel, expert_parallel),
        weight_dtype=weight_dtype,
        kv_dtype=kv_dtype,
        as_json=as_json,
    )


def table(
    operators: Annotated[
        Path, typer.Argument(metavar="OPS.csv", help="Measured operators; any table that calibrate reads")
    ],
    device: Annotated[str, typer.Option(help="SoC")] = "Ascend910B2",
    profile: Profile = None,
    as_json: options.Json = False,
) -> None:
    """Forecast a table of measured operators, and how far off it is."""
    from flexnpu.forecast.command_table import run_table  # noqa: PLC0415 - heavy, and only needed here

    run_table(operators, device, profile=profile, as_json=as_json)
