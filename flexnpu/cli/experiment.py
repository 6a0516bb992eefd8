# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu experiment: published serving experiments, on two engines that share a software NPU and in the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flexnpu.cli import options
from flexnpu.cli.needed import serving_needed
from flexnpu.cli.output import print_json, results


def run(
    name: Annotated[str, typer.Argument(help="One of flexnpu experiment list")],
    policy: Annotated[
        str | None,
        typer.Option(metavar="MODE,…", help="Modes of flexnpu controller to set beside the static one"),
    ] = None,
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="In place of the excerpt that ships")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="In a minute; its figures are of few requests")] = False,
    json_file: options.JsonFile = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write them there as tables")
    ] = None,
    png_file: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw them there")] = None,
) -> None:
    """Replay an experiment under a static co-location and under the controller. Takes about six minutes."""
    serving_needed()
    from flexnpu.experiment.command import Asked, run_experiment  # noqa: PLC0415 - heavy, and only needed here

    modes = tuple(policy.split(",")) if policy is not None else ()
    with results(json_file) as file:
        run_experiment(Asked(name, modes, trace, quick, file, markdown_file, png_file))


def list_(as_json: options.Json = False) -> None:
    """The experiments there are."""
    from flexnpu.experiment.command import list_experiments  # noqa: PLC0415 - heavy, and only needed here
    from flexnpu.experiment.description import find, names  # noqa: PLC0415

    if as_json:
        print_json([{"name": name, "title": find(name).title} for name in names()])
    else:
        list_experiments()
