# SPDX-License-Identifier: Apache-2.0
"""flexnpu completion: the script that lets a shell complete commands, options and names of vNPUs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]


class Shell(StrEnum):
    """That there is a script for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that is to complete")]) -> None:
    """Print the completion script of a shell: eval "$(flexnpu completion bash)", or put it where the shell looks."""
    typer.echo(get_completion_script(prog_name="flexnpu", complete_var="_FLEXNPU_COMPLETE", shell=shell.value))
