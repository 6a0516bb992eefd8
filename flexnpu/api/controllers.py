# SPDX-License-Identifier: Apache-2.0
"""The controllers of a node, by what they tell: their state, and the newest of their decisions, within bounds. The
daemon needs none of it, and none of it outlives the daemon."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from flexnpu.api.controller import Controller, ControllerState, Decision, DecisionRecord, OutcomeRecord
from flexnpu.errors import InvalidValue, NotFound, Refused

MOST_CONTROLLERS: Final = 64
MOST_DECISIONS: Final = 1024
MOST_BYTES: Final = 16 << 20  # of decisions, as JSON
MOST_OUTCOMES: Final = 64  # of one decision
_FORGOTTEN_AFTER_S: Final = 3600.0
_RESERVED: Final = "decisions"  # has that address


@dataclass(slots=True)
class _Known:
    state: ControllerState
    who: dict[str, str | int]
    since: float
    renewed_at: float
    decisions: int = 0


@dataclass(slots=True)
class _Kept:
    told: Decision
    bytes: int
    outcomes: list[OutcomeRecord] = field(default_factory=list)


class Controllers:
    """clock: seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._ring: deque[_Kept] = deque()
        self._bytes = 0
        self._newest = int(clock() * 1000)  # as of events: later daemons use later ids

    def all(self) -> list[Controller]:
        return [self.get(name) for name in self._known]

    def get(self, name: str) -> Controller:
        known = self._find(name)
        return Controller(
            **known.state.model_dump(),
            name=name,
            live=self._is_live(known),
            since=known.since,
            renewed_at=known.renewed_at,
            decisions=known.decisions,
            who=known.who,
        )

    def put(self, name: str, state: ControllerState, who: dict[str, str | int]) -> ControllerState | None:
        """The state before."""
        if name == _RESERVED:
            raise InvalidValue(f"{name} is no name for a controller", next_step="use another")
        self._forget_the_dead()
        now, known = self._clock(), self._known.get(name)
        if known is None:
            self._check_room()
            self._known[name] = _Known(state, who, now, now)
            return None
        if self._is_live(known) and _user(known.who) != _user(who):
            raise Refused(
                f"controller {name} is told of by another ({_said(known.who)})",
                next_step="use another name, or end that one first",
            )
        same = known.who == who  # or a process that was started in place of it
        self._known[name] = _Known(state, who, known.since if same else now, now, known.decisions if same else 0)
        return known.state

    def remove(self, name: str) -> ControllerState:
        """Its last state; its decisions stay."""
        state = self._find(name).state
        del self._known[name]
        return state

    def add(self, name: str, record: DecisionRecord) -> Decision:
        known = self._find(name)
        known.decisions += 1
        self._newest += 1
        ours = {"id": self._newest, "controller": name, "told_at": self._clock(), "outcomes": []}
        told = Decision(**record.model_dump() | ours)
        kept = _Kept(told, len(told.model_dump_json()))
        self._ring.append(kept)
        self._bytes += kept.bytes
        while len(self._ring) > MOST_DECISIONS or self._bytes > MOST_BYTES:
            self._bytes -= self._ring.popleft().bytes
        return told

    def add_outcome(self, name: str, outcome: OutcomeRecord) -> bool:
        """Whether its decision is known still."""
        for kept in reversed(self._ring):
            if (kept.told.controller, kept.told.number) == (name, outcome.decision):
                if len(kept.outcomes) < MOST_OUTCOMES:
                    kept.outcomes.append(outcome)
                return True
        return False

    def decisions(self, before: int | None = None) -> Iterator[Decision]:
        """The newest first; of ids below `before`."""
        return (_whole(kept) for kept in reversed(self._ring) if before is None or kept.told.id < before)

    def decision(self, id_: int) -> Decision:
        for kept in self._ring:
            if kept.told.id == id_:
                return _whole(kept)
        raise NotFound(f"decision {id_} is not known (any more)", next_step="see /api/v1/controller/decisions")

    def _find(self, name: str) -> _Known:
        if name not in self._known:
            there = ", ".join(self._known) or "none"
            raise NotFound(f"controller {name!r} is not here (there are: {there})", next_step="PUT its state first")
        return self._known[name]

    def _check_room(self) -> None:
        if len(self._known) >= MOST_CONTROLLERS:
            raise Refused(
                f"there are {MOST_CONTROLLERS} controllers already", next_step="end some", limit=MOST_CONTROLLERS
            )

    def _is_live(self, known: _Known) -> bool:
        return self._clock() - known.renewed_at <= known.state.renew_within_s

    def _forget_the_dead(self) -> None:
        long_ago = self._clock() - _FORGOTTEN_AFTER_S
        for name, known in [*self._known.items()]:
            if known.renewed_at < long_ago and not self._is_live(known):
                del self._known[name]


def _whole(kept: _Kept) -> Decision:
    return kept.told.model_copy(update={"outcomes": [*kept.outcomes]})


def _user(who: dict[str, str | int]) -> dict[str, str | int]:
    return {kind: name for kind, name in who.items() if kind != "pid"}


def _said(who: dict[str, str | int]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in who.items())
