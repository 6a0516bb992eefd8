# SPDX-License-Identifier: Apache-2.0
"""flexnpu token: a bearer token for the admin API over TCP."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flexnpu.api.tokens import make
from flexnpu.cli import options
from flexnpu.cli.output import print_json


def token(
    name: Annotated[str, typer.Argument(help="Who will use it; the audit lines have it")],
    scope: Annotated[str, typer.Option(help="read, or write: both")] = "read",
    as_json: options.Json = False,
) -> None:
    """Make a token: it goes to stdout, and its line for flexnpud --tokens, which has the hash alone, to stderr."""
    made, line = make(name, scope)
    if as_json:
        print_json({"token": made, "line": line})
        return
    typer.echo(made)
    print(line, file=sys.stderr)
