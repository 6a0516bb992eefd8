# SPDX-License-Identifier: Apache-2.0
"""What commands print: tables for people, JSON for programs. Colours are rich's to decide: none in a pipe, none where
NO_COLOR is set."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 250  # columns


def print_json(value: object) -> None:
    """One document. Models of the API are printed as they cross the wire."""
    typer.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def print_json_line(value: object) -> None:
    """One of many, each on a line of its own, at once."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False))


@contextlib.contextmanager
def results(json_file: Path | None) -> Iterator[Path | None]:
    """For a command that shows tables as it goes and has its results at the end: where it is to write their JSON. Where
    that is `-`, it is stdout, and what the command shows goes to stderr."""
    if json_file != Path("-"):
        yield json_file
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield Path("/dev/stdout")


def show(*parts: RenderableType) -> None:
    """One under the other. What is printed is no markup, wherever it came from."""
    if sys.stdout.isatty():
        Console(markup=False, highlight=False).print(*parts, sep="\n")
        return
    # In a pipe there is no width to fit into: a folded table is none, and neither is there one to fill.
    wide = Console(width=_PIPE_WIDTH, markup=False, highlight=False)
    with wide.capture() as captured:
        wide.print(*parts, sep="\n")
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Without rows, a line that says so."""
    made = Table(title=title if rows else f"{title}: none", title_justify="left", show_header=bool(rows), box=None)
    for column in columns:
        made.add_column(column, no_wrap=not sys.stdout.isatty())
    for row in rows:
        made.add_row(*(Text(printable(str(cell))) for cell in row))
    return made


def facts(title: str, rows: Iterable[tuple[str, object]]) -> Table:
    """Names and values, one pair a line."""
    made = Table(title=title, title_justify="left", show_header=False, box=None)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, Text(printable(str(value))))
    return made


def printable(text: str) -> str:
    """In one line, and without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no form in JSON")
