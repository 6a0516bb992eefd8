# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found, as JSON and as a table: rows with their targets, and where and when they were taken."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from flexnpu import __version__

MODELLED = "software NPU, paced clock, math skipped: device time is modelled"
NULL = "null device: its calls return at once"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. target None: there is none; the figure passes when it is at most (or, at_least, at least) that."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    more: Mapping[str, object] = field(default_factory=dict)
    also: bool = True  # what else the row needs to pass

    @property
    def passed(self) -> bool | None:
        if self.target is None:
            return None
        return bool(self.also and (self.value >= self.target if self.at_least else self.value <= self.target))

    def plain(self) -> dict[str, object]:
        own = {"name": self.name, "value": _rounded(self.value), "unit": self.unit, "target": self.target}
        return {**own, "pass": self.passed, **{key: _plain(value) for key, value in self.more.items()}}


@dataclass(frozen=True, slots=True)
class Result:
    """All rows of a benchmark."""

    benchmark: str
    device: str
    seconds: float
    rows: tuple[Row, ...]
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(row.passed is not False for row in self.rows)

    def to_json(self) -> str:
        return json.dumps(
            {
                "benchmark": self.benchmark,
                "version": __version__,
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "machine": machine(),
                "device": self.device,
                "seconds": self.seconds,
                "pass": self.passed,
                "rows": [row.plain() for row in self.rows],
                **{key: _plain(value) for key, value in self.more.items()},
            },
            indent=1,
        )


def machine() -> dict[str, object]:
    """The host, as far as it explains figures."""
    return {
        "cpu": _cpu() or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return _rounded(value) if isinstance(value, float) else value
