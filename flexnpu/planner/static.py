# SPDX-License-Identifier: Apache-2.0
"""A static split: each phase keeps its cores, whatever comes; the lanes run freely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flexnpu.planner.lanes import lanes, nearest, need, need_budget
from flexnpu.planner.plan import Looks, Plan
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot


@dataclass(frozen=True, slots=True)
class Static:
    """decode: decode's cores, or, below 1, its part of the device. budget: tokens of a prefill iteration."""

    decode: float = 0.5
    budget: int | None = None
    name: str = "static"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.NOTHING

    def __post_init__(self) -> None:
        need_budget("static", self.budget)
        need("static decode (cores, or a part below 1)", self.decode, 0.01, 4096)

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        wanted = self.decode * snapshot.device_cores if self.decode < 1 else self.decode
        cores = nearest(snapshot.decode_cores, wanted)
        return lanes(snapshot, forecaster, cores, self.budget or snapshot.budget, "a fixed split")
