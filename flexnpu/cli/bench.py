# SPDX-License-Identifier: Apache-2.0
"""flexnpu bench: the promises in figures, measured on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flexnpu.cli import options
from flexnpu.cli.output import show, table
from flexnpu.errors import InvalidValue

if TYPE_CHECKING:
    from flexnpu.bench.result import Result, Row

Seconds = Annotated[float, typer.Option(help="About how long, each side or scenario its part or its own")]
Only = Annotated[str | None, typer.Option(help="Only the scenarios that have this in their name")]
Moves = Annotated[int, typer.Option(help="How often cores are moved, about 0.15 s each")]
Prompts = Annotated[int, typer.Option(help="How many prompts begin, about half a second each")]
Direct = Annotated[bool, typer.Option("--direct", help="Without FlexNPU, to compare with")]


def overhead(seconds: Seconds = 20.0, as_json: options.Json = False) -> None:
    """Nanoseconds that FlexNPU adds to a call."""
    from flexnpu.bench.overhead import run  # noqa: PLC0415 - heavy, and only needed here

    _print(run(_checked(seconds)), as_json=as_json)


def decode(seconds: Seconds = 30.0, as_json: options.Json = False) -> None:
    """How much slower a Hugging Face model decodes on a vNPU than without FlexNPU."""
    from flexnpu.bench.decode import run  # noqa: PLC0415 - heavy, and only needed here

    _print(run(_checked(seconds)), as_json=as_json)


def fairness(seconds: Seconds = 10.0, only: Only = None, direct: Direct = False, as_json: options.Json = False) -> None:
    """Shares of device time against what was set, 2 to 16 tenants (modelled). SECONDS is per scenario."""
    from flexnpu.bench.fairness import run  # noqa: PLC0415 - heavy, and only needed here

    _print(run(_checked(seconds), only, governed=not direct), as_json=as_json)


def latency(seconds: Seconds = 10.0, only: Only = None, direct: Direct = False, as_json: options.Json = False) -> None:
    """How long a latency-critical tenant waits beside best-effort ones (modelled). SECONDS is per scenario."""
    from flexnpu.bench.latency import run  # noqa: PLC0415 - heavy, and only needed here

    _print(run(_checked(seconds), only, governed=not direct), as_json=as_json)


def kills(seconds: Seconds = 30.0, as_json: options.Json = False) -> None:
    """How long others wait when the one whose turn it is is killed or stopped (modelled)."""
    from flexnpu.bench.kills import run  # noqa: PLC0415 - heavy, and only needed here

    _print(run(_checked(seconds)), as_json=as_json)


def reassign(seconds: Seconds = 4.0, as_json: options.Json = False) -> None:
    """How soon a changed quota is in force on a busy tenant."""
    from flexnpu.bench.reassign import run  # noqa: PLC0415 - heavy, and only needed here

    _print(run(_checked(seconds)), as_json=as_json)


def attach(seconds: Seconds = 3.0, as_json: options.Json = False) -> None:
    """How long it takes to become a tenant, alone and among a thousand."""
    from flexnpu.bench.attach import run  # noqa: PLC0415 - heavy, and only needed here

    _print(run(_checked(seconds)), as_json=as_json)


def moves(moves: Moves = 1000, as_json: options.Json = False) -> None:
    """What moving cores costs who decodes, and how soon a decode step starts beside prefill (modelled)."""
    from flexnpu.bench.moves import run  # noqa: PLC0415 - heavy, and only needed here

    _print(run(_counted("--moves", moves)), as_json=as_json)


def react(prompts: Prompts = 100, as_json: options.Json = False) -> None:
    """How soon the controller has moved cores for a prompt that begins."""
    from flexnpu.bench.react import run  # noqa: PLC0415 - heavy, and only needed here

    _print(run(_counted("--prompts", prompts)), as_json=as_json)


def _counted(option: str, count: int) -> int:
    if not 10 <= count <= 100_000:
        raise InvalidValue(f"{option} {count} is out of range", next_step="give 10 to 100000, or leave it out")
    return count


def _checked(seconds: float) -> float:
    if not 0.1 <= seconds <= 3600:
        raise InvalidValue(f"--seconds {seconds:g} is out of range", next_step="give 0.1 to 3600, or leave it out")
    return seconds


def _print(result: Result, *, as_json: bool) -> None:
    if as_json:
        typer.echo(result.to_json())
        return
    rows = [(row.name, f"{row.value:.4g} {row.unit}", _target(row), _verdict(row)) for row in result.rows]
    show(table(f"{result.benchmark} ({result.device})", ("", "figure", "target", ""), rows))


def _target(row: Row) -> str:
    return "-" if row.target is None else f"{'at least' if row.at_least else 'at most'} {row.target:g} {row.unit}"


def _verdict(row: Row) -> str:
    return {None: "", True: "pass", False: "MISSED"}[row.passed]
