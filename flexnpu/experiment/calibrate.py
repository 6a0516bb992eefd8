# SPDX-License-Identifier: Apache-2.0
"""The clock's scale: how much the device must be slowed for its time, and not the host's Python, to decide.

The engines are asked the same several times: on a device so fast that only the host's time is left, and on one so slow
that the host's is hidden. The ratio of the two, with room for both engines and the replay on the same cores, is the
scale. At that scale once more: what an iteration then takes beyond the device's time is what the device waits for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from flexnpu.experiment.replay import replayed
from flexnpu.experiment.report import Served
from flexnpu.experiment.stack import TOKEN_BUDGET, StackError
from flexnpu.simulator import Arrival
from flexnpu.softnpu import set_scale

PROBE = Arrival(0.0, 256, 24)  # a prompt short enough to be the host's worst case
_PROBES = 3
_BURST = [PROBE._replace(output=1)] * (1 + TOKEN_BUDGET // PROBE.prompt)  # all but the first fit into an iteration
_FAST = 1e-3
_SLOW = 8.0
ROOM = 1.5


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one iteration of each engine."""

    prefill: float
    decode: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """host: wall seconds that Python takes; intake: wall seconds that it takes for each of many requests that come at
    once, until it is in the queue; device: device seconds that the model gives; scale: what follows; waits: device
    seconds of each iteration, at that scale, in which the device waits for the host."""

    host: Pace
    intake: float
    device: Pace
    scale: float
    waits: Pace


def calibrate(port: int, state_file: Path, room: float = ROOM) -> Calibration:
    """Measures, and leaves the device at the scale that follows. Raises StackError when the engines do not answer."""
    _measure(port, state_file, _FAST)  # first calls of every operator are slower
    host = _measure(port, state_file, _FAST)
    intake = intake_of(replayed(port, _BURST, 1.0), host)
    slow = _measure(port, state_file, _SLOW)
    device = Pace(slow.prefill / _SLOW, slow.decode / _SLOW)
    scale = scale_for(host, device, room)
    return Calibration(host, intake, device, scale, waits(slow, _measure(port, state_file, scale), scale))


def scale_for(host: Pace, device: Pace, room: float = ROOM) -> float:
    """At least 1, in steps of a tenth."""
    ratio = max(host.prefill / device.prefill, host.decode / device.decode)
    return max(1.0, math.ceil(10 * room * ratio) / 10)


def waits(slow: Pace, paced: Pace, scale: float) -> Pace:
    """Of iterations that take `paced` wall seconds at that scale and `slow` on the slow clock: a line through both."""
    return Pace(*(_wait(*each, scale) for each in ((slow.prefill, paced.prefill), (slow.decode, paced.decode))))


def _wait(slow: float, paced: float, scale: float) -> float:
    if scale >= _SLOW:
        return 0.0
    device = (slow - paced) / (_SLOW - scale)
    return max(0.0, paced / scale - device)


def _measure(port: int, state_file: Path, scale: float) -> Pace:
    """In wall seconds."""
    set_scale(state_file, scale)
    # One after another: each alone on the device.
    return pace_of([one for _ in range(_PROBES) for one in replayed(port, [PROBE], 1.0)])


def intake_of(served: Sequence[Served], host: Pace) -> float:
    """Of requests that came at once while the device takes no time: the first has an iteration, the others the next.
    host: an iteration of its prefill has one intake in it. Raises StackError where one was not answered."""
    _check(served)
    last = max(request.ttft for request in served)
    return max(0.0, last - 2 * host.prefill) / (len(served) - 2)


def pace_of(served: Sequence[Served]) -> Pace:
    """Of requests that were alone. Raises StackError where one was not answered."""
    _check(served)
    return Pace(
        median(request.ttft for request in served),
        median(gap for request in served for gap in request.gaps),
    )


def _check(served: Sequence[Served]) -> None:
    for request in served:
        if not request.finished:
            raise StackError(f"an engine did not answer while its pace was measured: {request.why}")
