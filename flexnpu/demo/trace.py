# SPDX-License-Identifier: Apache-2.0
"""Request traces: when a request comes, how long its prompt is, how many tokens it wants."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flexnpu.errors import InvalidValue

HEAD = Path(__file__).with_name("data") / "azure_code_2023_head.csv"
_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace."""

    at: float  # seconds since the first request
    prompt: int  # tokens
    output: int  # tokens, at least 1


def read_azure(path: Path, minutes: float) -> list[Arrival]:
    """The requests of the first `minutes` of a trace in the Azure format. Raises InvalidValue with file and line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != _COLUMNS:
                raise InvalidValue(f"trace {path}: columns {rows.fieldnames}", next_step=f"give {', '.join(_COLUMNS)}")
            found = [_arrival(row, path, rows.line_num) for row in rows]
    except OSError as error:
        raise InvalidValue(f"trace {path} cannot be read ({error.strerror})", next_step="give a CSV file") from error
    if not found:
        raise InvalidValue(f"trace {path} has no request", next_step="give a CSV file with at least one row")
    start = min(arrival.at for arrival in found)
    shifted = (dataclasses.replace(arrival, at=arrival.at - start) for arrival in found)
    return sorted((arrival for arrival in shifted if arrival.at < minutes * 60), key=lambda arrival: arrival.at)


def shorten_gaps(arrivals: Sequence[Arrival], longest: float) -> list[Arrival]:
    """The same requests with no gap between two of them longer than `longest` seconds.

    A gap in which everything has been answered changes no latency, only how long the replay takes; `longest` is to be
    chosen so that this holds.
    """
    shortened: list[Arrival] = []
    removed = 0.0
    previous = arrivals[0].at if arrivals else 0.0
    for arrival in arrivals:
        removed += max(0.0, arrival.at - previous - longest)
        previous = arrival.at
        shortened.append(dataclasses.replace(arrival, at=arrival.at - removed))
    return shortened


def _arrival(row: dict[str, str], path: Path, line: int) -> Arrival:
    try:
        stamp = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
        prompt, output = int(row["ContextTokens"]), int(row["GeneratedTokens"])
    except (TypeError, ValueError) as error:
        raise InvalidValue(
            f"trace {path} line {line}: {error}", next_step="give time, prompt and output tokens"
        ) from error
    if prompt < 1 or output < 1:
        raise InvalidValue(
            f"trace {path} line {line}: {prompt} prompt and {output} output tokens", next_step="give at least 1 of each"
        )
    return Arrival(stamp, prompt, output)
