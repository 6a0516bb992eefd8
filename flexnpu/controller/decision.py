# SPDX-License-Identifier: Apache-2.0
"""What the loop writes down: each decision with its inputs, alternatives and reason, and afterwards what came of it.

All times are device seconds unless a name says wall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from flexnpu.planner import Alternative, Split

Mode = Literal["planned", "safe", "pinned", "observed"]


@dataclass(frozen=True, slots=True)
class Applied:
    """How a move ended. done: no work tiled under the older revision can still be launched. revisions: by vNPU."""

    done: bool
    wall_seconds: float
    revisions: Mapping[str, int] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One turn of the loop.

    mode safe: an input was missing, and the static split was chosen instead of a plan; pinned: the operator's split
    holds; observed: a plan that is not carried out, where before is the plan before it. seen_after_wall_seconds: from
    the beginning of the newest step to the turn that knows of it, where steps are followed.
    """

    number: int
    at: float
    mode: Mode
    phases: Mapping[str, str]
    inputs: Mapping[str, object]
    before: Split
    after: Split
    reason: str
    meets_itl: bool
    forecast: Alternative | None = None
    alternatives: tuple[Alternative, ...] = ()
    applied: Applied | None = None
    planned_in_wall_seconds: float = 0.0
    seen_after_wall_seconds: float | None = None

    @property
    def moved(self) -> bool:
        return self.before != self.after

    def as_dict(self) -> dict[str, object]:
        return {
            "kind": "decision",
            "number": self.number,
            "at": self.at,
            "mode": self.mode,
            "phases": dict(self.phases),
            "inputs": dict(self.inputs),
            "before": self.before._asdict(),
            "after": self.after._asdict(),
            "moved": self.moved,
            "reason": self.reason,
            "meets_itl": self.meets_itl,
            "forecast": _alternative(self.forecast) if self.forecast else None,
            "alternatives": [_alternative(each) for each in self.alternatives],
            "applied": asdict(self.applied) if self.applied else None,
            "planned_in_wall_seconds": self.planned_in_wall_seconds,
            "seen_after_wall_seconds": self.seen_after_wall_seconds,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came while a decision held, beside what was forecast. None where nothing was observed."""

    decision: int
    held_seconds: float
    turns: int
    decode_forecast_seconds: float | None
    decode_observed_seconds: float | None
    decode_tokens: int
    prefill_forecast_tokens_per_second: float | None
    prefill_observed_tokens_per_second: float | None
    decode_correction: float

    def as_dict(self) -> dict[str, object]:
        return {"kind": "outcome", **asdict(self)}


def _alternative(each: Alternative) -> dict[str, object]:
    return each._asdict() | {"split": each.split._asdict()}
