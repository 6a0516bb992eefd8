# SPDX-License-Identifier: Apache-2.0
"""Steps of engines from the daemon, as they begin: a thread per vNPU that listens, and begins anew when it has to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flexnpu.client import Client, Step
from flexnpu.controller.seam import FollowError
from flexnpu.controller.watchers import Watchers
from flexnpu.errors import FlexNpuError

_AGAIN_EVERY_S = 0.2
_END_WITHIN_S = 2.0  # the daemon speaks once a second, unless it hangs
_MOST_KEPT = 10_000  # steps, of a loop that does not look


class DaemonSteps(Watchers):
    """Follows the steps of these vNPUs while it is entered; `news` is called for each, from the threads.

    Each vNPU has a connection of its own, so that one that ends takes nothing from the others.
    """

    def __init__(self, vnpus: Sequence[str], news: Callable[[], object], runtime_dir: Path | None = None) -> None:
        super().__init__(vnpus, "flexnpu-follow", _END_WITHIN_S)
        self._news, self._runtime_dir = news, runtime_dir
        self._fresh: list[Step] = []
        self._troubles: dict[str, FollowError] = {}

    def fresh(self) -> tuple[list[Step], Mapping[str, FollowError]]:
        with self._lock:
            fresh, self._fresh = self._fresh, []
            return sorted(fresh, key=lambda step: step.at_s), dict(self._troubles)

    def _run(self, name: str) -> None:
        while not self._stop.is_set():
            try:
                with Client(self._runtime_dir) as client:
                    for step in client.steps([name]):
                        if self._stop.is_set():
                            return
                        self._keep(name, step)
                trouble = "the daemon has ended, or the vNPU has"
            except FlexNpuError as error:
                trouble = str(error)
            except Exception as error:  # whatever it is: without a word from here the engine would seem to be silent
                trouble = f"{type(error).__name__}: {error}"
            with self._lock:
                self._troubles[name] = FollowError(trouble)
            self._news()
            self._stop.wait(_AGAIN_EVERY_S)

    def _keep(self, vnpu: str, step: Step | None) -> None:
        with self._lock:
            self._troubles.pop(vnpu, None)
            if step is None:
                return
            self._fresh.append(step)
            del self._fresh[:-_MOST_KEPT]
        self._news()
