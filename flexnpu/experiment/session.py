# SPDX-License-Identifier: Apache-2.0
"""Runs on a stack whose clock is set: one policy after another under the same requests."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from flexnpu.experiment.calibrate import Calibration
from flexnpu.experiment.live import Progress
from flexnpu.experiment.replay import Replay, replayed
from flexnpu.experiment.report import MODELLED, Run, Served, Targets
from flexnpu.experiment.stack import Quotas, Stack
from flexnpu.simulator import Arrival

_OBSERVED_FOR = 1.0  # wall seconds: the controller reads both engines before the first request comes


class Session:
    """What a replay needs beside its requests."""

    def __init__(self, stack: Stack, calibration: Calibration, console: Console) -> None:
        self._stack, self._calibration, self._console = stack, calibration, console
        self._journals = 0

    @property
    def scale(self) -> float:
        """Wall seconds of a device second."""
        return self._calibration.scale

    def asked(self, quotas: Quotas, arrivals: Sequence[Arrival]) -> Sequence[Served]:
        """What became of requests under these quotas, which nobody watches."""
        self._stack.place(quotas)
        return replayed(self._stack.ports["prefill"], arrivals, self.scale)

    def static(self, policy: str, quotas: Quotas, arrivals: Sequence[Arrival]) -> Run:
        """Under quotas that nobody changes."""
        self._stack.place(quotas)
        return self._replay(policy, arrivals)

    def controlled(self, policy: str, mode: str, quotas: Quotas, arrivals: Sequence[Arrival], targets: Targets) -> Run:
        """Under `flexnpu controller` in that mode, which begins with these quotas."""
        stack = self._stack
        stack.place(quotas)
        self._journals += 1
        journal = stack.root / f"decisions-{self._journals}.jsonl"
        controller = stack.start_controller(journal, mode, targets.ttft, targets.tpot)
        stack.wait("controller", journal.exists)
        time.sleep(_OBSERVED_FOR)
        run = self._replay(policy, arrivals)
        stack.stop(controller)
        return Run(run.policy, run.requests, run.cores, _applied(journal))

    def tell(self) -> None:
        """How the clock was set, in two lines."""
        host, device, scale = self._calibration.host, self._calibration.device, self._calibration.scale
        self._console.print(
            f"a decode step takes {host.decode * 1e3:.1f} ms of Python and {device.decode * 1e3:.1f} ms of device "
            f"time; a short prefill {host.prefill * 1e3:.1f} and {device.prefill * 1e3:.1f} ms"
        )
        self._console.print(f"so {scale:g} wall seconds make one device second; {MODELLED}")

    def _replay(self, policy: str, arrivals: Sequence[Arrival]) -> Run:
        replay = Replay(self._stack.ports["prefill"], arrivals, self.scale)
        with Progress(self._console, policy, len(arrivals)) as progress:
            cores = replay.run(self._stack.split, progress)
        self._stack.check()
        return Run(policy, replay.served, cores)


def _applied(journal: Path) -> tuple[float | None, ...]:
    """Of each move: wall seconds until it was applied, None where it was not in time."""
    records = (json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines())
    moves = [record["applied"] for record in records if record["kind"] == "decision" and record["moved"]]
    return tuple(float(move["wall_seconds"]) if move["done"] else None for move in moves if move is not None)


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """SIGTERM ends what runs as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
