# SPDX-License-Identifier: Apache-2.0
"""What every way to run iterations offers to its device."""

from __future__ import annotations

from typing import Protocol

from flexnpu.planner import Plan

INFINITE = float("inf")


class Runner(Protocol):
    """A way to run iterations. A device has one at a time and changes it when nothing is in flight."""

    @property
    def next_seconds(self) -> float:
        """When it is to be called again; infinite when nothing runs."""

    def turn(self, now: float) -> bool:
        """Book what is over at `now`; True: nothing is in flight any more, so `begin` is next."""

    def begin(self, now: float, plan: Plan) -> None:
        """Start the work that the plan wants."""

    def arrived(self, now: float) -> None:
        """A request has been queued while work is in flight."""

    def owed(self, now: float) -> int:
        """Blocks of the steps that have begun by now and are not booked yet."""

    def cut(self, now: float) -> None:
        """Somebody else is about to take blocks: what has been projected beyond the step under way may not hold."""

    def busy_cores(self) -> tuple[int, int, int]:
        """Cores at work on prompts, on decode, on both."""
