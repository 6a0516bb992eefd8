# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a command has one parameter per option
"""flexnpu decisions: what the controllers decided, from which inputs, against what else, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any

import typer
from rich.table import Table

from flexnpu.api.controller import GrantRecord, OutcomeRecord, ServiceRecord
from flexnpu.cli import options
from flexnpu.cli.output import facts, print_json, show, table
from flexnpu.client import Client, Decision
from flexnpu.errors import InvalidValue

MOST_LISTED = 100_000


def decisions(
    number: Annotated[int | None, typer.Argument(metavar="ID", help="One decision, with all that it rests on")] = None,
    controller: Annotated[str | None, typer.Option(help="Of that controller alone")] = None,
    device: Annotated[int | None, typer.Option(help="On that device alone")] = None,
    moved: Annotated[
        bool | None, typer.Option("--moved/--kept", help="Those that moved cores alone, or those that did not")
    ] = None,
    limit: Annotated[int, typer.Option(help="So many, the newest first")] = 20,
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Show what controllers decided, or one decision with inputs, forecast, alternatives, reason and outcome."""
    if not 1 <= limit <= MOST_LISTED:
        raise InvalidValue(f"--limit {limit} is out of range", next_step=f"give 1 to {MOST_LISTED}")
    with Client(runtime_dir) as client:
        if number is not None:
            found = client.decision(number)
            if as_json:
                print_json(found)
            else:
                show(*_whole(found))
            return
        asked: dict[str, Any] = {"controller": controller, "device": device, "moved": moved}
        filters = {name: value for name, value in asked.items() if value is not None}
        listed = list(islice(client.decisions(**filters), limit))
    if as_json:
        print_json({"decisions": listed})
        return
    head = ("id", "at", "controller", "device", "mode", "change", "reason")
    show(table("decisions", head, [_row(each) for each in listed]))


def _row(decision: Decision) -> tuple[object, ...]:
    at = time.strftime("%H:%M:%S", time.localtime(decision.told_at))
    who = decision.controller, decision.device, decision.mode
    return decision.id, at, *who, _change(decision), decision.reason


def _whole(decision: Decision) -> Iterator[Table]:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(decision.told_at))
    rows: list[tuple[str, object]] = [
        ("by", f"{decision.controller}, its number {decision.number}, at {at}"),
        ("device", decision.device),
        ("mode", decision.mode),
        ("change", _change(decision)),
        ("reason", decision.reason),
        *((name, _text(value)) for name, value in (decision.model_extra or {}).items()),
    ]
    yield facts(f"decision {decision.id}", rows)
    for service in decision.services:
        yield from _service(service)
    for outcome in decision.outcomes:
        yield _outcome(outcome)


def _service(service: ServiceRecord) -> Iterator[Table]:
    grants = ", ".join(f"{name} {_grant(grant)}" for name, grant in service.grants.items())
    rows: list[tuple[str, object]] = [
        ("mode", service.mode),
        ("chosen", grants or "-"),
        ("phases", ", ".join(f"{name} {phase}" for name, phase in service.phases.items()) or "-"),
        ("keeps its ITL target", {None: "unknown", True: "yes", False: "no"}[service.meets_itl]),
        ("reason", service.reason),
        *((f"input: {name}", _text(value)) for name, value in service.inputs.items()),
    ]
    yield facts(f"service {service.service}", rows)
    weighed = [each for each in (service.forecast, *service.alternatives) if each is not None]
    first = service.forecast is not None
    yield _weighed(f"what {service.service} might get (device time)", weighed, first_is_chosen=first)


def _weighed(title: str, weighed: Sequence[Mapping[str, Any]], *, first_is_chosen: bool) -> Table:
    columns = list(dict.fromkeys(name for each in weighed for name in each))
    rows = [
        ("chosen" if first_is_chosen and at == 0 else "", *(_text(each.get(name, "-")) for name in columns))
        for at, each in enumerate(weighed)
    ]
    return table(title, ("", *(name.replace("_", " ") for name in columns)), rows)


def _outcome(outcome: OutcomeRecord) -> Table:
    told = (outcome.model_extra or {}).items()
    return facts(f"what came of it for {outcome.service} (device time)", [(name, _text(value)) for name, value in told])


def _change(decision: Decision) -> str:
    moves = [
        f"{name} {_grant(decision.before.get(name))} -> {_grant(grant)}"
        for name, grant in decision.after.items()
        if grant != decision.before.get(name)
    ]
    return ", ".join(moves) or "none"


def _grant(grant: GrantRecord | None) -> str:
    if grant is None:
        return "nothing"
    return str(grant.cores) if grant.share_percent is None else f"{grant.cores} at {grant.share_percent:.3g}%"


def _text(value: object) -> str:
    """A value of a record in few words: numbers shortened, mappings as name=value."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "-"
    return str(value)
