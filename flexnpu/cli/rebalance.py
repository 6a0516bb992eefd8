# SPDX-License-Identifier: Apache-2.0
"""flexnpu rebalance: cores and shares of several vNPUs in one transaction."""

from __future__ import annotations

from typing import Annotated

import typer

from flexnpu.cli import options
from flexnpu.cli.names import complete_vnpu
from flexnpu.cli.output import print_json, show, table
from flexnpu.client import Client, Move, RebalanceState, VNpu
from flexnpu.errors import InvalidValue, NotApplied
from flexnpu.units import parse_duration, parse_percent

_FORM = "write it like NAME=12, NAME=share:25% or NAME=12,share:none,priority:2"


def rebalance(
    moves: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=CORES[,share:PERCENT][,priority:N]",
            help="What each vNPU is to have; the rest of it stays",
            autocompletion=complete_vnpu,
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say whether it is possible, and change nothing")] = False,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Move cores or time between vNPUs: all moves or none, and no core is ever guaranteed twice."""
    wanted = [parse_move(text) for text in moves]
    within = parse_duration(timeout)
    with Client(runtime_dir) as client:
        before = {vnpu.name: vnpu for vnpu in client.vnpus()}
        state = client.rebalance(wanted, None if dry_run else within, dry_run=dry_run)
    if as_json:
        print_json(state)
    else:
        _show(wanted, before, state)
    if not (state.applied or dry_run):
        raise NotApplied(
            f"the moves are accepted but were not applied within {timeout}",
            next_step="flexnpu ps says what each waits for",
        )


def parse_move(text: str) -> Move:
    """Raises InvalidValue."""
    name, given, rest = text.partition("=")
    if not (name and given and rest):
        raise InvalidValue(f"move {text!r} cannot be read", next_step=_FORM)
    fields: dict[str, object] = {}
    for part in rest.split(","):
        key, value = _part(part.strip(), text)
        if key in fields:
            raise InvalidValue(f"move {text!r} says its {key} twice", next_step=_FORM)
        fields[key] = value
    try:
        return Move.model_validate({"vnpu": name, **fields})
    except ValueError as error:
        raise InvalidValue(f"move {text!r} is out of range", next_step=_FORM) from error


def _part(part: str, text: str) -> tuple[str, object]:
    key, _, value = part.rpartition(":")
    if key == "share":
        return "share_percent", None if value == "none" else parse_percent(value)
    names = {"": "cores", "priority": "priority"}
    if key not in names or not (value.isascii() and value.isdigit()):
        raise InvalidValue(f"move {text!r}: {part!r} cannot be read", next_step=_FORM)
    return names[key], int(value)


def _show(wanted: list[Move], before: dict[str, VNpu], state: RebalanceState) -> None:
    title = "possible; nothing is changed" if state.dry_run else "accepted"
    if state.applied and not state.dry_run:
        title = f"applied after {(state.applied_after_s or 0) * 1e3:.1f} ms"
    rows = [_row(move, before[move.vnpu], state) for move in wanted if move.vnpu in before]
    show(table(title, ("vNPU", "cores", "share", "priority", "revision"), rows))


def _row(move: Move, before: VNpu, state: RebalanceState) -> tuple[object, ...]:
    share = move.share_percent if "share_percent" in move.model_fields_set else before.share_percent
    return (
        move.vnpu,
        _change(before.cores, move.cores or before.cores),
        _change(_share(before.share_percent), _share(share)),
        _change(before.priority, before.priority if move.priority is None else move.priority),
        state.revisions.get(move.vnpu, before.revision),
    )


def _share(percent: float | None) -> str:
    return "all the time" if percent is None else f"{percent:g}%"


def _change(before: object, after: object) -> str:
    return str(before) if after == before else f"{before} -> {after}"
