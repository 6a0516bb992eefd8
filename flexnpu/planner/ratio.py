# SPDX-License-Identifier: Apache-2.0
"""How many of several equal devices run prompts, and how many decode (P:D), by what is before them now.

With n of N devices for prompts, the queue takes T_p / n, and each of the others decodes its part of the running
requests in t_d(n) per step. The pressure of n is the larger of (T_p / n) / TTFT and t_d(n) / (margin x ITL): over 1, a
target is missed. The n with the least pressure is best; what is in force stays while it is within `band` of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from flexnpu.forecast import Request
from flexnpu.planner.plan import ms
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, SnapshotError


class Pressure(NamedTuple):
    """Of one ratio: seconds of the queue and of a decode step, and the larger of them over its target."""

    prefill: int
    queue_seconds: float
    step_seconds: float
    value: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """prefill, decode: devices of each phase. weighed: every ratio."""

    prefill: int
    decode: int
    reason: str
    weighed: tuple[Pressure, ...]


def ratio(devices: int, snapshot: Snapshot, forecaster: PhaseForecaster, current: int | None = None) -> Ratio:
    """snapshot: prompts and running requests of all devices together; its device_cores are those of one. current:
    devices that run prompts now. SnapshotError for fewer than two devices."""
    if devices < 2:
        raise SnapshotError(f"{devices} devices cannot be parted between the phases; it must be 2 or more")
    weighed = tuple(_pressure(count, devices, snapshot, forecaster) for count in range(1, devices))
    best = min(weighed, key=lambda each: each.value)
    now = next((each for each in weighed if each.prefill == current), None)
    if now is not None and (not now.value or now.value <= best.value / (1.0 - snapshot.band)):
        best = now
    held = " as before" if best is now else ""
    reason = (
        f"{best.prefill}:{devices - best.prefill} devices for prompts and decode{held}: the queue takes "
        f"{ms(best.queue_seconds)} of {ms(snapshot.targets.ttft)}, a step {ms(best.step_seconds)} of "
        f"{ms(snapshot.targets.itl)}"
    )
    return Ratio(best.prefill, devices - best.prefill, reason, weighed)


def _pressure(count: int, devices: int, snapshot: Snapshot, forecaster: PhaseForecaster) -> Pressure:
    queue = step = 0.0
    if snapshot.prompts:
        queue = float(forecaster.alone(snapshot.prefill)[snapshot.device_cores]) / count
    if snapshot.running:
        part = forecaster.load(_part(snapshot.decode, devices - count))
        step = float(forecaster.seconds(snapshot.device_cores, part))
    targets = snapshot.targets
    value = max(queue / targets.ttft, step / (targets.itl * snapshot.margin))
    return Pressure(count, queue, step, value)


def _part(requests: Iterable[Request], devices: int) -> list[Request]:
    """Of requests spread evenly, those of the device that has the most."""
    return [request._replace(copies=-(-request.copies // devices)) for request in requests]
