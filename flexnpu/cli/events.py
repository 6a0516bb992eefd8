# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu events: what happens on the node, as it happens, across restarts of its daemon."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, get_args

import typer

from flexnpu.api.models import EventKind
from flexnpu.cli import options
from flexnpu.cli.names import complete_vnpu
from flexnpu.cli.output import print_json_line, printable
from flexnpu.client import Client, Event
from flexnpu.errors import DaemonFault, InvalidValue, NoDaemon, Unavailable

AGAIN_AFTER_S = 0.5


def events(
    after: Annotated[int | None, typer.Option(help="Only those after the event of that id, as --json has it")] = None,
    vnpu: Annotated[
        str | None, typer.Option(metavar="NAME,…", help="Of these vNPUs alone", autocompletion=complete_vnpu)
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND,…", help=f"Of these kinds alone: {', '.join(get_args(EventKind))}")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on with what happens, or end with what is known")
    ] = True,
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Show what happens on the node, from what is known on. A daemon that ends is waited for."""
    names, kinds = _parts(vnpu), _kinds(kind)
    for event in (resumed if follow else _known)(lambda: Client(runtime_dir), after):
        # Who has missed events has to know, whatever it is that they look for.
        is_wanted = (not names or event.vnpu in names) and (not kinds or event.kind in kinds)
        if is_wanted or event.kind == "resync":
            _show(event, as_json=as_json)


def resumed(connect: Callable[[], Client], after: int | None, again_after_s: float = AGAIN_AFTER_S) -> Iterator[Event]:
    """Without end: where the daemon ends, the next one is asked for those after the event that came last. Raises what
    `connect` or the first question does: a daemon that never was there is not waited for."""
    known = waits = False
    while True:
        try:
            with connect() as client:
                for event in client.events(after):
                    after, known, waits = event.id, True, False
                    yield event
                known = True
        except (NoDaemon, DaemonFault, Unavailable):
            if not known:
                raise
        if not waits:
            print("flexnpu: the daemon has ended; waiting for the next one", file=sys.stderr)
            waits = True
        time.sleep(again_after_s)


def _known(connect: Callable[[], Client], after: int | None) -> Iterator[Event]:
    with connect() as client:
        yield from client.events(after, follow=False)


def _show(event: Event, *, as_json: bool) -> None:
    if as_json:
        print_json_line(event)
        return
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    typer.echo(f"{at}  {event.kind:<8}  {event.vnpu or '-'}  {printable(event.text)}")


def _parts(text: str | None) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",")) if text else frozenset()


def _kinds(text: str | None) -> frozenset[str]:
    wanted = _parts(text)
    for kind in sorted(wanted):
        if kind not in get_args(EventKind):
            raise InvalidValue(f"--kind {kind!r} is not known", next_step=f"use {', '.join(get_args(EventKind))}")
    return wanted
