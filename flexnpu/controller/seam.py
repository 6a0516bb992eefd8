# SPDX-License-Identifier: Apache-2.0
"""What the loop needs from outside: devices' cores, engines' metrics and steps, time, and a place for its records.

The real ones are in daemon.py, scrape.py, follow.py and the standard library; tests pass their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from flexnpu.client import Step
from flexnpu.controller.decision import Applied, Decision, Grant, Outcome
from flexnpu.errors import Refused


class CoresError(Refused):
    """The vNPUs cannot share cores as they are asked to."""


class ScrapeError(Exception):
    """An engine's metrics cannot be had, or make no sense."""


class FollowError(Exception):
    """Steps cannot be followed."""


class Endpoint(NamedTuple):
    """An engine: the vNPU it runs on and where it serves its metrics; None: its steps are followed instead."""

    vnpu: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceView:
    """The devices that some vNPUs are on, as the daemon tells them: one, or those that each of the vNPUs spans.

    cores: what all of the vNPUs may have together on each; scale: wall per device second; grants: by vNPU, without
    those that are not there; pending: by vNPU whose newest quota is not in force yet, its revision; elsewhere: by vNPU
    that has come back on others, those.
    """

    devices: tuple[int, ...]
    soc: str
    cores: int
    scale: float
    grants: Mapping[str, Grant]
    pending: Mapping[str, int] = field(default_factory=dict)
    elsewhere: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class Cores(Protocol):
    """The vNPUs' cores."""

    def look(self) -> Sequence[DeviceView]:
        """The devices now, those with the lowest index first; a FlexNpuError when they cannot be had. A vNPU that has
        never been there is an error, one that is gone is not."""

    def move(self, grants: Mapping[str, Grant]) -> Applied:
        """One transaction; returns when it is applied, or after a bounded wait; a FlexNpuError when refused."""


class Page(NamedTuple):
    """An engine's metrics as they were read, or why they could not be. at: wall seconds, of the loop's clock."""

    text: str | ScrapeError
    at: float


class Scraper(Protocol):
    """The engines' metrics."""

    def fresh(self) -> Mapping[str, Page]:
        """By URL, the newest page that has been read since the last call. Returns at once."""


class Follower(Protocol):
    """Steps of engines that have no metrics."""

    def fresh(self) -> tuple[list[Step], Mapping[str, FollowError]]:
        """Those that began since the last call, oldest first; and by vNPU, why no more can be had at the moment."""


class Admission(Protocol):
    """Which engines take new work, where each device runs one phase."""

    def want(self, takes: Mapping[str, bool]) -> None:
        """By URL; the same again costs nothing. Returns at once."""


@dataclass(frozen=True, slots=True)
class Seams:
    """All of the outside. clock and sleep are in wall seconds, and a step's at_s is of that clock; the loop turns them
    into device time. sleep returns early where there is news."""

    cores: Cores
    clock: Callable[[], float]
    sleep: Callable[[float], object]
    record: Callable[[Decision | Outcome], None]
    scraper: Scraper | None = None
    follower: Follower | None = None
    admission: Admission | None = None
