# SPDX-License-Identifier: Apache-2.0
"""When the host does not run who is to run: on each processor a process that does nothing but nap, before all others
where it may be, and is now and then late. A tenant's threads are not better off.

    python -m flexnpu.bench.stalls      says {"napping": [PID, ...]}, naps until its input ends, says what it found
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from flexnpu.bench.figures import Array, Busy
from flexnpu.bench.stand import Program, die_with_parent

_NAP_S = 1e-3
_LATE_S = 2e-4  # what a wake may take
_LEAST_S = 1e-3  # shorter ones are no stall
# What a stall has put off is made good within this time, so that others wait then.
_AFTER_S = 0.02


@dataclass(frozen=True, slots=True)
class Stalls:
    """Of all processors together, in order and not over each other; host times (CLOCK_MONOTONIC), s."""

    begins: Array = field(default_factory=lambda: np.zeros(0))
    ends: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, each: Iterable[tuple[float, float]]) -> Stalls:
        begins: list[float] = []
        ends: list[float] = []
        for begin, end in sorted(each):
            if ends and begin <= ends[-1]:
                ends[-1] = max(ends[-1], end)
            else:
                begins.append(begin)
                ends.append(end)
        return cls(np.array(begins), np.array(ends))

    @property
    def longest_s(self) -> float:
        return float(np.max(self.ends - self.begins, initial=0.0))

    def spared(self, begins: Array, ends: Array) -> np.typing.NDArray[np.bool_]:
        """Of stretches of time, which no stall of a millisecond has touched, nor one shortly before."""
        touched: np.typing.NDArray[np.bool_] = self.within(begins - _AFTER_S, ends) > 0.0
        return ~touched

    def within(self, begins: Array, ends: Array) -> Array:
        """Seconds of stalls of a millisecond or more in each stretch of time. One may have begun a nap before it was
        noticed."""
        long = self.ends - self.begins >= _LEAST_S
        at, over = self.begins[long] - _NAP_S, self.ends[long]
        at[1:] = np.maximum(at[1:], over[:-1])
        stalled = Busy(at, over)
        return stalled.until(ends) - stalled.until(begins)


class Watch:
    """As a context; what it found, after it. napping: who naps, a process for each processor."""

    def __init__(self) -> None:
        self.found = Stalls()

    def __enter__(self) -> Self:
        self._program = Program([sys.executable, "-m", "flexnpu.bench.stalls"], os.environ, Path(os.devnull))
        self.napping: Sequence[int] = self._program.answer()["napping"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.end_input()
        if kind is None:
            self.found = Stalls.of((begin, end) for begin, end in self._program.answer()["stalls"])
        self._program.stop()


def _nap(processor: int, out: IO[bytes]) -> None:
    os.sched_setaffinity(0, {processor})
    with contextlib.suppress(OSError):  # where it may not, it naps as all others do
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    while True:
        due = time.monotonic() + _NAP_S
        time.sleep(_NAP_S)
        now = time.monotonic()
        if now - due > _LATE_S:
            out.write(f"[{due}, {now}]\n".encode())


def main() -> None:
    processors = os.sched_getaffinity(0)
    with tempfile.TemporaryFile(buffering=0) as out:
        children = []
        for processor in processors:
            child = os.fork()
            if child == 0:
                try:
                    die_with_parent()
                    _nap(processor, out)
                finally:
                    os._exit(1)
            children.append(child)
        print(json.dumps({"napping": children}), flush=True)
        sys.stdin.read()
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        out.seek(0)
        stalls = [json.loads(line) for line in out]
    print(json.dumps({"processors": len(processors), "stalls": stalls}))


if __name__ == "__main__":
    main()
