# SPDX-License-Identifier: Apache-2.0
"""What the loop needs from outside: the device's cores, the engines' metrics, time, and a place for its records.

The real ones are in daemon.py, scrape.py and the standard library; tests pass their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from flexnpu.client import Step
from flexnpu.controller.decision import Applied, Decision, Outcome
from flexnpu.errors import Refused
from flexnpu.planner import Split


class CoresError(Refused):
    """The two vNPUs cannot share cores."""


class ScrapeError(Exception):
    """An engine's metrics cannot be had, or make no sense."""


class FollowError(Exception):
    """Steps cannot be followed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An engine: the vNPU it runs on and where it serves its metrics; None: its steps are followed instead."""

    vnpu: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceView:
    """The device as the daemon tells it. cores: what both vNPUs may have together; scale: wall per device second."""

    soc: str
    cores: int
    scale: float
    split: Split
    device: int = 0


class Cores(Protocol):
    """The two vNPUs' cores."""

    def look(self) -> DeviceView:
        """The device now; a FlexNpuError when it cannot be had."""

    def move(self, split: Split) -> Applied:
        """One transaction; returns when it is applied, or after a bounded wait; a FlexNpuError when refused."""


class Scraper(Protocol):
    """The engines' metrics."""

    def read(self, urls: Sequence[str]) -> list[str | ScrapeError]:
        """The text of each page, or why it could not be had; bounded in time."""


class Follower(Protocol):
    """Steps of engines that have no metrics."""

    def fresh(self) -> tuple[list[Step], FollowError | None]:
        """Those that began since the last call, oldest first; and why no more can be had at the moment."""


@dataclass(frozen=True, slots=True)
class Seams:
    """All of the outside. clock and sleep are in wall seconds, and a step's at_s is of that clock; the loop turns them
    into device time. sleep returns early where there is news."""

    cores: Cores
    scraper: Scraper
    clock: Callable[[], float]
    sleep: Callable[[float], object]
    record: Callable[[Decision | Outcome], None]
    follower: Follower | None = None
