# SPDX-License-Identifier: Apache-2.0
"""What the daemon counts, since it began. Counters only rise, whatever a tenant says of itself; times are seconds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram. counts: what is at most as large as each bound, and larger than the one before; then what is larger
    than all. sum: of all that was observed."""

    bounds: Sequence[float]
    counts: Sequence[float]
    sum: float

    @property
    def total(self) -> float:
        return sum(self.counts)

    def since(self, before: Self | None) -> Self:
        """What came after an earlier state of the same histogram; all of it, where that one had more."""
        if before is None or before.bounds != self.bounds or before.total > self.total:
            return self
        grown = [max(0.0, now - then) for now, then in zip(self.counts, before.counts, strict=True)]
        return type(self)(self.bounds, grown, max(0.0, self.sum - before.sum))

    def at_most(self, limit: float) -> float:
        """How many were at most that large, as if they lay evenly within a bucket. Those above all bounds are not."""
        found, low = 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if bound > limit:
                return found + count * max(0.0, limit - low) / (bound - low)
            found, low = found + count, bound
        return found


@dataclass(slots=True)
class Tally:
    """A histogram that is being made."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> Buckets:
        return Buckets(self.bounds, tuple(self.counts), self.sum)


@dataclass(frozen=True, slots=True)
class DeviceCounts:
    """Of a vNPU on one of its devices. core_seconds: cube cores that it had, times how long; where it takes turns,
    times the device time charged. throttled_s: its threads' time at the gate. launches: by kind. used_cores: cube cores
    that its tasks hold now; None where the device does not say."""

    device: int
    core_seconds: float
    throttled_s: float
    launches: Mapping[str, int]
    used_cores: int | None


@dataclass(frozen=True, slots=True)
class VNpuCounts:
    """Of a vNPU, with what its ended tenants had counted. denials: by reason. waits: at the gate. applies: from a
    change of the quota until it was in force in all tenants. leases_reclaimed: of processes that ended, however they
    did. steps: of serving engines, by phase."""

    vnpu: str
    denials: Mapping[str, int]
    waits: Buckets
    applies: Buckets
    leases_reclaimed: int
    launched: int
    ungoverned: int
    steps: Mapping[str, int]
    devices: Sequence[DeviceCounts]


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """Beside its vNPUs. denials: of requests that named none of them, by reason. By device: granted_cores, with what
    older grants may use still; used_cores, None where it does not say."""

    denials: Mapping[str, int]
    granted_cores: Mapping[int, int]
    used_cores: Mapping[int, int | None]
