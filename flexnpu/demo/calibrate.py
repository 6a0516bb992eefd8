# SPDX-License-Identifier: Apache-2.0
"""The clock's scale: how much the device must be slowed for its time, and not the host's Python, to decide.

The engines are asked the same twice: on a device so fast that only the host's time is left, and on one so slow that the
host's is hidden. The ratio of the two, with room for both engines and the replay on the same cores, is the scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from flexnpu.demo.replay import Replay
from flexnpu.demo.report import Cores, Served
from flexnpu.demo.stack import StackError
from flexnpu.demo.trace import Arrival
from flexnpu.softnpu import set_scale

_FAST = 1e-3
_SLOW = 8.0
_PROBES = tuple(Arrival(0.0, 256, 24) for _ in range(3))  # prompts short enough to be the host's worst case
_ROOM = 1.5


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one iteration of each engine."""

    prefill: float
    decode: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """host: wall seconds that Python takes; device: device seconds that the model gives; scale: what follows."""

    host: Pace
    device: Pace
    scale: float


def calibrate(port: int, state_file: Path) -> Calibration:
    """Measures, and leaves the device at the scale that follows. Raises StackError when the engines do not answer."""
    _measure(port, state_file, _FAST)  # first calls of every operator are slower
    host = _measure(port, state_file, _FAST)
    slow = _measure(port, state_file, _SLOW)
    device = Pace(slow.prefill / _SLOW, slow.decode / _SLOW)
    scale = scale_for(host, device)
    set_scale(state_file, scale)
    return Calibration(host, device, scale)


def scale_for(host: Pace, device: Pace) -> float:
    """At least 1, in steps of a tenth."""
    ratio = max(host.prefill / device.prefill, host.decode / device.decode)
    return max(1.0, math.ceil(10 * _ROOM * ratio) / 10)


def _measure(port: int, state_file: Path, scale: float) -> Pace:
    set_scale(state_file, scale)
    served: list[Served] = []
    for probe in _PROBES:  # one after another: each alone on the device
        replay = Replay(port, [probe], 1.0)
        replay.run(lambda: (0, 0), _nothing)
        served.extend(replay.served)
    if not all(request.finished for request in served):
        raise StackError(f"an engine did not answer while its pace was measured: {served[-1].why}")
    return Pace(
        median(request.ttft for request in served),
        median(request.tpot for request in served if request.tpot is not None),
    )


def _nothing(_replay: Replay, _sample: Cores) -> None:
    pass
