# SPDX-License-Identifier: Apache-2.0
"""flexnpu doctor: the command."""

from __future__ import annotations

import os
from collections.abc import Iterator

import typer
from rich.table import Table
from rich.text import Text

from flexnpu.cli import options
from flexnpu.cli.doctor import daemon, driver, hooks, loader, softnpu, toolkit
from flexnpu.cli.doctor.finding import Finding, Host
from flexnpu.cli.output import print_json, printable, show
from flexnpu.client import Endpoint

UNWELL = 7  # exit code
_STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "error": "bold red"}


def doctor(as_json: options.Json = False, runtime_dir: options.RuntimeDir = None) -> None:
    """Look at what FlexNPU needs of this host; each finding comes with the command that mends it."""
    found = [*examine(Host(), Endpoint.find(runtime_dir, os.environ))]
    if as_json:
        print_json({"findings": [_plain(finding) for finding in found], "worst": _worst(found)})
    else:
        show(_table(found))
    if _worst(found) == "error":
        raise typer.Exit(UNWELL)


def examine(host: Host, endpoint: Endpoint) -> Iterator[Finding]:
    """All checks, one after the other."""
    yield from driver.check(host)
    yield from toolkit.check(host)
    yield from loader.check(host)
    yield from hooks.check(host)
    yield from softnpu.check(host)
    yield from daemon.check(host, endpoint)


def _worst(found: list[Finding]) -> str:
    return max((finding.level for finding in found), key=list(_STYLES).index, default="ok")


def _plain(finding: Finding) -> dict[str, str | None]:
    return {"check": finding.check, "level": finding.level, "found": finding.found, "mend": finding.mend or None}


def _table(found: list[Finding]) -> Table:
    made = Table(box=None, show_header=False)
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for finding in found:
        made.add_row(Text(finding.level, style=_STYLES[finding.level]), finding.check, Text(printable(finding.found)))
        if finding.mend:
            made.add_row("", "", Text(f"  $ {finding.mend}", style="bold"))
    return made
