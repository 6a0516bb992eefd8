# SPDX-License-Identifier: Apache-2.0
"""What the loop writes down: each decision with its inputs, alternatives and reason, and afterwards what came of it.

All times are device seconds unless a name says wall.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

from flexnpu.planner import Alternative

Mode = Literal["planned", "safe", "pinned", "observed"]


class Grant(NamedTuple):
    """What a vNPU has: cores, and of the device's time that many per cent (None: its cores all the time). priority: who
    goes first where time is shared; it means nothing else."""

    cores: int
    share: float | None = None
    priority: int = 0

    def __str__(self) -> str:
        return str(self.cores) if self.share is None else f"{self.cores} at {self.share:.3g} %"


def together(grants: Iterable[Grant]) -> int:
    """Cores that so many take: those who take turns have theirs one after another."""
    each = tuple(grants)
    alone = sum(grant.cores for grant in each if grant.share is None)
    return alone + max((grant.cores for grant in each if grant.share is not None), default=0)


@dataclass(frozen=True, slots=True)
class Applied:
    """How a move ended. done: no work tiled under the older revision can still be launched. revisions: by vNPU."""

    done: bool
    wall_seconds: float
    revisions: Mapping[str, int] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """A decision's part for one service on one device.

    mode safe: an input was missing, and the safe cores were chosen instead of a plan; pinned: the operator's cores
    hold. grants: by vNPU.
    """

    service: str
    mode: Mode
    grants: Mapping[str, Grant]
    phases: Mapping[str, str]
    inputs: Mapping[str, object]
    reason: str
    meets_itl: bool
    forecast: Alternative | None = None
    alternatives: tuple[Alternative, ...] = ()

    def as_dict(self) -> dict[str, object]:
        return {
            "service": self.service,
            "mode": self.mode,
            "grants": _grants(self.grants),
            "phases": dict(self.phases),
            "inputs": dict(self.inputs),
            "reason": self.reason,
            "meets_itl": self.meets_itl,
            "forecast": _alternative(self.forecast) if self.forecast else None,
            "alternatives": [_alternative(each) for each in self.alternatives],
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """One turn of the loop on one device. before, after: by vNPU.

    mode: safe where any service is in it; observed: plans that are not carried out, where before is the plan before.
    seen_after_wall_seconds: from the beginning of the newest step to the turn that knows of it, where steps are
    followed.
    """

    number: int
    at: float
    device: int
    mode: Mode
    before: Mapping[str, Grant]
    after: Mapping[str, Grant]
    reason: str
    services: tuple[ServicePlan, ...]
    scale: float
    cores: int
    applied: Applied | None = None
    planned_in_wall_seconds: float = 0.0
    seen_after_wall_seconds: float | None = None

    @property
    def moved(self) -> bool:
        return bool(self.moves)

    @property
    def moves(self) -> Mapping[str, Grant]:
        """What is to become another, by vNPU."""
        return {name: grant for name, grant in self.after.items() if grant != self.before.get(name)}

    @property
    def changes(self) -> str:
        """The same for people: `prefill 12 -> 18, decode 12 -> 6`."""
        return ", ".join(f"{name} {self.before.get(name, 'gone')} -> {grant}" for name, grant in self.moves.items())

    def as_dict(self) -> dict[str, object]:
        return {
            "kind": "decision",
            "number": self.number,
            "at": self.at,
            "device": self.device,
            "mode": self.mode,
            "before": _grants(self.before),
            "after": _grants(self.after),
            "moved": self.moved,
            "reason": self.reason,
            "services": [each.as_dict() for each in self.services],
            "scale": self.scale,
            "cores": self.cores,
            "applied": asdict(self.applied) if self.applied else None,
            "planned_in_wall_seconds": self.planned_in_wall_seconds,
            "seen_after_wall_seconds": self.seen_after_wall_seconds,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came to a service while a decision held, beside what was forecast. None where nothing was observed."""

    decision: int
    service: str
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


def _grants(grants: Mapping[str, Grant]) -> dict[str, dict[str, object]]:
    return {name: {"cores": grant.cores, "share_percent": grant.share} for name, grant in grants.items()}


def _alternative(each: Alternative) -> dict[str, object]:
    return each._asdict() | {"split": each.split._asdict()}
