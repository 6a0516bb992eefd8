# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu simulate: a trace against policies, on a modelled device."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flexnpu.cli import options
from flexnpu.cli.output import results
from flexnpu.errors import InvalidValue

if TYPE_CHECKING:
    from flexnpu.simulator.command import Question
else:
    Question = object  # options are read from signatures, whose names must all be known

Ask = Callable[[], "Question"]

TraceFile = Annotated[
    list[str] | None, typer.Option("--trace", metavar="FILE", help="Trace; several are played one after another")
]
Formats = Annotated[
    list[str] | None,
    typer.Option("--format", help="azure, mooncake, csv or synthetic; once for all traces or once for each"),
]
Limits = Annotated[
    list[int] | None, typer.Option("--limit", help="Only the first N requests of a trace; once for all or for each")
]
Scales = Annotated[
    list[float] | None,
    typer.Option("--rate-scale", help="Requests come so many times as fast; once for all or for each"),
]
Model = Annotated[str | None, typer.Option(help="Hugging Face config.json, its folder, or a name that ships")]
Device = Annotated[str, typer.Option(help="SoC")]
Profile = Annotated[Path | None, typer.Option(help="Calibrated forecast, as flexnpu calibrate writes it")]
Policies = Annotated[str | None, typer.Option("--policy", metavar="NAME,…", help="Policies to compare, or all")]
SloText = Annotated[str, typer.Option("--slo", help="Targets of a request, such as ttft=2s,itl=100ms")]
ItlBy = Annotated[str, typer.Option(help="What is held against the ITL target: mean, p99 or max of a request's gaps")]
Pool = Annotated[
    str, typer.Option(help="Devices (or groups that share the model): N alike, or N:M for prefill and decode")
]
Budget = Annotated[int | None, typer.Option(help="Tokens of one iteration  [default: 8192]")]
Running = Annotated[int | None, typer.Option(help="Requests that run at once on a device  [default: 256]")]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML page there")]
Requests = Annotated[Path | None, typer.Option("--requests", metavar="FILE", help="Write every request there, as CSV")]


def _question(
    trace: TraceFile = None,
    formats: Formats = None,
    limit: Limits = None,
    rate_scale: Scales = None,
    model: Model = None,
    device: Device = "Ascend910B2",
    profile: Profile = None,
    policy: Policies = None,
    slo: SloText = "ttft=2s,itl=100ms",
    itl_by: ItlBy = "mean",
    pool: Pool = "1",
    token_budget: Budget = None,
    max_running: Running = None,
    tensor_parallel: options.TensorParallel = 1,
    expert_parallel: options.ExpertParallel = 1,
    weight_dtype: options.WeightDtype = None,
    kv_dtype: options.KvDtype = None,
) -> Question:
    """What both commands ask; these are their options."""
    from flexnpu.llm import Parallel  # noqa: PLC0415 - heavy, and only needed here
    from flexnpu.simulator.command import Question  # noqa: PLC0415 - heavy, and only needed here

    for name, value in (("--trace", trace), ("--format", formats), ("--model", model), ("--policy", policy)):
        if not value:
            raise InvalidValue(f"{name} is missing", next_step="see flexnpu simulate --help")
    return Question(
        traces=trace or (),
        formats=formats or (),
        model=model or "",
        device=device,
        policy=policy or "",
        slo=slo,
        itl_by=itl_by,
        limits=limit or (),
        rate_scales=rate_scale or (),
        profile=profile,
        pool=pool,
        token_budget=token_budget,
        max_running=max_running,
        parallel=Parallel(tensor_parallel, expert_parallel),
        weight_dtype=weight_dtype,
        kv_dtype=kv_dtype,
    )


def _asks(command: Callable[..., None]) -> Callable[..., None]:
    """A command that has the options of `_question` before its own, and is given a way to make the question of them."""
    shared, own = (inspect.signature(each, eval_str=True).parameters for each in (_question, command))
    parameters = sorted([*shared.values(), *list(own.values())[1:]], key=_has_default)

    def run(**given: Any) -> None:  # noqa: ANN401 - each as its option says
        options = {name: given.pop(name) for name in shared}
        command(lambda: _question(**options), **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    # What typer reads a command's options from.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not inspect.Parameter.empty


@_asks
def simulate(
    ask: Ask,
    context: typer.Context,
    json_file: options.JsonFile = None,
    report: Report = None,
    requests: Requests = None,
) -> None:
    """Simulate a trace under each policy and compare latency and goodput (modelled, not measured)."""
    if context.invoked_subcommand is not None:
        _nothing_given(context)
        return
    from flexnpu.simulator.command import run_simulate  # noqa: PLC0415 - heavy, and only needed here

    with results(json_file) as file:
        run_simulate(ask(), json_file=file, report_file=report, requests_file=requests)


def _nothing_given(context: typer.Context) -> None:
    """Options before a subcommand would be lost."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            command = f"flexnpu simulate {context.invoked_subcommand}"
            raise InvalidValue(
                f"options stand before {context.invoked_subcommand}", next_step=f"write them behind it: {command} …"
            )


@_asks
def capacity(
    ask: Ask,
    attainment: Annotated[
        list[float] | None, typer.Option(help="Part of the requests to be within targets  [default: 0.9 and 0.99]")
    ] = None,
    json_file: options.JsonFile = None,
    report: Report = None,
) -> None:
    """Find the highest rate of the trace at which each policy keeps 90 % and 99 % of the requests within targets."""
    from flexnpu.simulator.command import ATTAINMENTS, run_capacity  # noqa: PLC0415 - heavy, and only needed here

    with results(json_file) as file:
        run_capacity(ask(), attainments=attainment or ATTAINMENTS, json_file=file, report_file=report)
