# SPDX-License-Identifier: Apache-2.0
"""How long the steps of serving engines take, by vNPU: from the beginning of one step to that of the next of the same
process, wall time. An engine without requests begins none, so that its pauses count once, and not beyond a limit."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flexnpu.client import Client, Step
from flexnpu.errors import FlexNpuError

WINDOW_S = 10.0
LONGEST_S = 5.0  # a pause of more is no step
_MOST_STEPS = 4096  # of a vNPU in the window
_MOST_NAMES_LENGTH = 6000  # characters of a question
_AGAIN_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the steps of the last seconds: median and 99th percentile, in seconds, and how many began a second."""

    median: float
    p99: float
    per_second: float


class Steps:
    """What was seen of steps, of the last seconds."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], tuple[int, float]] = {}
        self._took: dict[str, deque[tuple[float, float]]] = {}

    def take(self, step: Step, now: float) -> None:
        """now: of this host; its clock need not be the daemon's."""
        who = step.vnpu, step.pid
        number, began = self._last.get(who, (-1, 0.0))
        if step.number == number:  # more of the same
            return
        self._last[who] = step.number, step.at_s
        took = step.at_s - began
        if step.number == number + 1 and took <= LONGEST_S:
            self._took.setdefault(step.vnpu, deque(maxlen=_MOST_STEPS)).append((now, took))

    def latency(self, vnpu: str, now: float) -> Latency | None:
        """None where none is known."""
        took = sorted(length for at, length in self._took.get(vnpu, ()) if at > now - WINDOW_S)
        if not took:
            return None
        return Latency(took[len(took) // 2], took[len(took) * 99 // 100], len(took) / WINDOW_S)


class StepsFollower:
    """A thread that follows the steps of the vNPUs that `follow` names, over a connection of its own."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._names: tuple[str, ...] = ()
        self._steps = Steps()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def follow(self, names: Iterable[str]) -> None:
        """From now on these; as many as one question can name."""
        kept, length = [], 0
        for name in sorted(names):
            length += len(name) + len("&vnpu=")
            if length > _MOST_NAMES_LENGTH:
                break
            kept.append(name)
        if tuple(kept) != self._names:
            self._names = tuple(kept)
            self._changed.set()

    def latencies(self, names: Iterable[str]) -> dict[str, Latency]:
        now = time.monotonic()
        with self._lock:
            found = {name: self._steps.latency(name, now) for name in names}
        return {name: latency for name, latency in found.items() if latency is not None}

    def _run(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            names = self._names
            if not names:
                continue
            with contextlib.suppress(
                FlexNpuError
            ):  # a daemon that is away, or has readers enough; a vNPU that has gone
                self._listen(names)
            time.sleep(_AGAIN_AFTER_S)
            self._changed.set()

    def _listen(self, names: tuple[str, ...]) -> None:
        with self._connect() as client:
            for step in client.steps(names):
                if self._names != names:
                    return
                if step is not None:
                    with self._lock:
                        self._steps.take(step, time.monotonic())
