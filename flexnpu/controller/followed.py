# SPDX-License-Identifier: Apache-2.0
"""An engine that knows nothing of the controller: its steps, as its operators tell them when they are launched.

A step's end is when the device is done with it, which nobody tells; the forecast says when that is. Until then, and a
little longer, the engine counts as busy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flexnpu.client import Step
from flexnpu.controller.engines import MOST_REQUESTS, Engine, Progress, Role, Work
from flexnpu.controller.metrics import Served
from flexnpu.controller.seam import Endpoint, FollowError
from flexnpu.forecast import Request
from flexnpu.tenancy import Tally

# Of what a step is forecast to take, how long its engine counts as busy; and how long a host may take between two.
_PATIENCE, _HOST_SECONDS = 1.5, 0.04
# A gap longer than so many times the step, and a little of the host's, is a pause and no step.
_PAUSE, _PAUSE_SECONDS = 3.0, 0.005
# Of gaps between tokens, device seconds: from 1 ms to 10 s, ten to a decade.
_GAP_BOUNDS = tuple(1e-3 * 10 ** (step / 10) for step in range(41))


@dataclass(slots=True)
class FollowedEngine:
    """An engine's newest step. took: forecast seconds of an iteration on so many cores; cores: that it has."""

    endpoint: Endpoint
    role: Role
    took: Callable[[Work, int], float]
    cores: Callable[[], int]
    newest: Step | None = None
    began: float = 0.0
    trouble: str | None = None
    trouble_at: float = 0.0
    _work: Work = field(default_factory=Work)
    _lasts: float = 0.0
    _lasts_on: int = 0
    _progress: list[Progress] = field(default_factory=list)
    _gaps: Tally = field(default_factory=lambda: Tally(_GAP_BOUNDS))

    def take(self, step: Step, began: float) -> None:
        """A step that has begun at that device time."""
        before, began_before = self.newest, self.began
        if before is not None and (step.pid, step.number) == (before.pid, before.number):
            began = began_before  # more of the same
        elif before is not None and step.pid == before.pid and step.number == before.number + 1:
            self._count(before, began - began_before)
        # Who decodes waits meanwhile where the two phases do not share an iteration.
        waits = self._work.decode if self.role == "both" and step.phase == "prefill" and self._busy(began) else ()
        self.newest, self.began = step, began
        work = self._of(step)
        self._lasts_on = self.cores()
        self._lasts = self.took(work, self._lasts_on)
        self._work = work._replace(decode=work.decode or waits)

    def adopt(self, old: Engine) -> None:
        if isinstance(old, FollowedEngine) and old.role == self.role:
            self.newest, self.began, self._work = old.newest, old.began, old._work
            self._lasts, self._lasts_on = old._lasts, old._lasts_on
            self.trouble, self.trouble_at = old.trouble, old.trouble_at
            self._gaps = old._gaps

    def fail(self, error: FollowError | None, at: float) -> None:
        """Steps cannot be followed since; None: they can."""
        if error is None:
            self.trouble = None
        elif self.trouble is None:
            self.trouble, self.trouble_at = str(error), at

    def stale(self, at: float, limit: float) -> str | None:
        name = self.endpoint.vnpu
        if self.trouble is not None and at - self.trouble_at > limit:
            return f"{name} has not been followed for {at - self.trouble_at:.2f} s ({self.trouble})"
        if self.newest is None:
            return f"{name} has begun no step yet"
        if self._busy(at) and self._contradicts(self.newest):
            return f"{name} runs {self.newest.phase} steps; it must be the vNPU of the {self.role} engine"
        return None

    def work(self, at: float) -> Work:
        return self._work if self._busy(at) else Work()

    def describe(self) -> dict[str, object] | None:
        if self.newest is None:
            return {"steps": 0}
        step = self.newest
        return {
            "steps": step.number,
            "phase": step.phase,
            "requests": step.requests,
            "new_tokens": step.new_tokens,
            "context_tokens": step.context_sum,
            "lengths": "observed",
        }

    def progress(self, scale: float) -> Progress:
        told, self._progress = self._progress, []
        return Progress(bool(told), *map(sum, zip(*(each[1:] for each in told), strict=True))) if told else Progress()

    def served(self, scale: float) -> Served | None:
        return Served(1.0, gaps=self._gaps.buckets())

    def changes_at(self, at: float) -> float | None:
        return self._until() if self._busy(at) else None

    def _busy(self, at: float) -> bool:
        return self.newest is not None and at < self._until()

    def _until(self) -> float:
        """With more cores it is sooner over; that it has lost some since is no reason to think that it goes on."""
        if self.newest is not None and (cores := self.cores()) != self._lasts_on:
            self._lasts = min(self._lasts, self.took(self._of(self.newest), cores))
            self._lasts_on = cores
        return self.began + _PATIENCE * self._lasts + _HOST_SECONDS

    def _contradicts(self, step: Step) -> bool:
        return self.role != "both" and step.phase in {"prefill", "decode"} and step.phase != self.role

    def _of(self, step: Step) -> Work:
        """What the step computes. Of one that mixes phases only sums are told: one prompt, and the others decode."""
        count = min(max(1, step.requests), MOST_REQUESTS)
        if self.role == "decode" or (self.role == "both" and step.phase == "decode"):
            return Work(decode=(_decodes(step.context_sum, count),))
        if self.role == "prefill" or step.phase != "mixed" or count == 1:
            new = max(2, round(step.new_tokens / count))  # one would be taken for a decode step
            return Work(prefill=(Request(new, max(0, round((step.context_sum - step.new_tokens) / count)), count),))
        running = count - 1
        new = max(2, step.new_tokens - running)
        decoding = _decodes(max(0, step.context_sum - step.context_most), running)
        return Work((Request(new, max(0, step.context_most - new)),), (decoding,))

    def _count(self, step: Step, seconds: float) -> None:
        if seconds > _PAUSE * self._lasts + _PAUSE_SECONDS:
            return
        if self._of(step).prefill:
            self._progress.append(Progress(True, step.new_tokens))
        else:
            self._progress.append(Progress(True, 0.0, step.requests, step.requests * seconds))
            self._gaps.observe(seconds, step.requests)


def _decodes(context: int, count: int) -> Request:
    return Request(1, max(1, round(context / count)), count)
