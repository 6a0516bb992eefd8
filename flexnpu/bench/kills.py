# SPDX-License-Identifier: Apache-2.0
"""How long another tenant waits when the one that holds the turn is killed, or stopped: beyond one operator, from the
signal to its next operator's start, in device time.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence

import numpy as np

from flexnpu.bench.figures import Busy, Spread
from flexnpu.bench.result import MODELLED, Result, Row
from flexnpu.bench.stand import Program, Stand
from flexnpu.bench.tenants import Tenant, read_trace, start_tenant
from flexnpu.softnpu import read_state

_OPERATOR_S = 200e-6
_MS = 1e-3
OTHER = Tenant("other", (_OPERATOR_S,), 20)
HOLDER = Tenant("holder", (_OPERATOR_S,), 80)
TARGETS_MS = {signal.SIGKILL: 2.0, signal.SIGSTOP: 5.0}
NAMES = {signal.SIGKILL: "killed", signal.SIGSTOP: "stopped"}
_BETWEEN_S = (0.08, 0.12)  # estimates of a new one are learned meanwhile
_STOPPED_S = 0.03
_FOR_EVER_NS = 10**15


def run(seconds: float = 30.0) -> Result:
    """Half of it for each signal."""
    found = [row for number in TARGETS_MS for row in rows(number, _waits_ms(number, seconds / 2))]
    return Result("kills", MODELLED, seconds, tuple(found))


def rows(number: signal.Signals, waits_ms: Sequence[float]) -> list[Row]:
    """p50, p99 and the most; the promise is on the most."""
    name, target = f"holder {NAMES[number]}: others wait", TARGETS_MS[number]
    if not waits_ms:
        return [Row(f"{name}, most", 0.0, "ms", target, also=False, more={"rounds": 0})]
    spread = Spread.of(waits_ms)
    return [
        Row(f"{name}, p50", spread.median, "ms", target),
        Row(f"{name}, p99", spread.p99, "ms", target),
        Row(f"{name}, most", spread.most, "ms", target, more={"rounds": spread.count, "spread_ms": spread}),
    ]


def waited_ms(busy: Busy, moments: Sequence[float]) -> list[float]:
    """From each moment at which it did not have the device (the other had) to its next operator, less one operator."""
    waits = []
    for moment in moments:
        after = int(np.searchsorted(busy.starts, moment, side="right"))
        if 0 < after < busy.starts.size and busy.ends[after - 1] <= moment:
            waits.append(max(0.0, float(busy.starts[after]) - moment - _OPERATOR_S) / _MS)
    return waits


def _waits_ms(number: signal.Signals, seconds: float) -> list[float]:
    with Stand() as stand:
        other, holder = start_tenant(stand, OTHER, 0), start_tenant(stand, HOLDER, 1)
        other.answer()
        begin = time.monotonic()
        other.say(f"{time.monotonic_ns()} {round((begin + seconds) * 1e9)}")
        struck = _strike(stand, holder, number, begin + seconds - 0.5)
        other.answer()
        offset = read_state(stand.state_dir / "device0").device_seconds - time.monotonic()
        return waited_ms(read_trace(stand, OTHER.name, ()).busy, [moment + offset for moment in struck])


def _strike(stand: Stand, holder: Program, number: signal.Signals, end: float) -> list[float]:
    """Again and again until then; when, by the host's clock."""
    chance, struck = random.Random(number), []
    _let_go(holder)
    while time.monotonic() < end:
        time.sleep(chance.uniform(*_BETWEEN_S))
        struck.append(time.monotonic())
        os.kill(holder.pid, number)
        if number == signal.SIGSTOP:
            time.sleep(_STOPPED_S)
            os.kill(holder.pid, signal.SIGCONT)
        else:
            holder.stop()
            time.sleep(_STOPPED_S)  # the wait that is measured is not for the next one's start
            holder = start_tenant(stand, HOLDER, len(struck) + 1, new=False)
            _let_go(holder)
    return struck


def _let_go(program: Program) -> None:
    program.answer()
    program.say(f"{time.monotonic_ns()} {time.monotonic_ns() + _FOR_EVER_NS}")
