# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode on devices of their own (DistServe, Splitwise): n run prompts, m decode, caches are carried over.

Each device has one phase, so a plan is the whole device; what there is to decide is who goes where. How long a cache
travels is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from flexnpu.planner.lanes import need, need_budget, whole_device
from flexnpu.planner.plan import Looks, Plan
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot


class DeviceLoad(NamedTuple):
    """What a device has before it, for the choice among several."""

    waiting_tokens: float = 0.0
    running: float = 0.0
    kv_free: float = float("inf")


@dataclass(frozen=True, slots=True)
class Disaggregated:
    """prefill, decode: devices of each phase. budget: tokens of a prefill iteration."""

    prefill: int = 1
    decode: int = 1
    budget: int | None = None
    name: str = "disaggregated"
    looks: ClassVar[Looks] = Looks.NOTHING

    def __post_init__(self) -> None:
        need_budget("disaggregated", self.budget)
        need("disaggregated prefill devices", self.prefill, 1, 4096)
        need("disaggregated decode devices", self.decode, 1, 4096)

    @property
    def layout(self) -> str:
        return f"{self.prefill}:{self.decode}"

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        """For one device, which has prompts or running requests."""
        return whole_device(snapshot, forecaster, self.budget or snapshot.budget)


def prompt_goes_to(devices: Sequence[DeviceLoad]) -> int:
    """The device with the fewest tokens before it; of equals, the fewest running, then the first."""
    return min(range(len(devices)), key=lambda index: (devices[index].waiting_tokens, devices[index].running, index))


def decode_goes_to(devices: Sequence[DeviceLoad], tokens: float) -> int | None:
    """The device with the fewest running requests of those that have room for a cache of `tokens`; None: nobody has."""
    roomy = [index for index, device in enumerate(devices) if device.kv_free >= tokens]
    return min(roomy, key=lambda index: (devices[index].running, -devices[index].kv_free, index)) if roomy else None
