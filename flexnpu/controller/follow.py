# SPDX-License-Identifier: Apache-2.0
"""Steps of engines from the daemon, as they begin: a thread that listens, and begins anew when the daemon does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from flexnpu.client import Client, Step
from flexnpu.controller.seam import FollowError
from flexnpu.errors import FlexNpuError

_AGAIN_EVERY_S = 0.2
_END_WITHIN_S = 2.0
_MOST_KEPT = 10_000  # steps, of a loop that does not look


class DaemonSteps:
    """Follows the steps of these vNPUs while it is entered; `news` is called for each, from the thread."""

    def __init__(self, vnpus: Sequence[str], news: Callable[[], object], runtime_dir: Path | None = None) -> None:
        self._vnpus, self._news, self._runtime_dir = list(vnpus), news, runtime_dir
        self._lock = threading.Lock()
        self._fresh: list[Step] = []
        self._trouble: FollowError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flexnpu-follow", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_END_WITHIN_S)  # the daemon speaks once a second, unless it hangs

    def fresh(self) -> tuple[list[Step], FollowError | None]:
        with self._lock:
            fresh, self._fresh = self._fresh, []
            return fresh, self._trouble

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with Client(self._runtime_dir) as client:
                    for step in client.steps(self._vnpus):
                        if self._stop.is_set():
                            return
                        self._keep(step)
                trouble = "the daemon has ended, or the vNPUs have"
            except FlexNpuError as error:
                trouble = str(error)
            except Exception as error:  # whatever it is: without a word from here all engines would seem to be silent
                trouble = f"{type(error).__name__}: {error}"
            with self._lock:
                self._trouble = FollowError(trouble)
            self._news()
            self._stop.wait(_AGAIN_EVERY_S)

    def _keep(self, step: Step | None) -> None:
        with self._lock:
            self._trouble = None
            if step is None:
                return
            self._fresh.append(step)
            del self._fresh[:-_MOST_KEPT]
        self._news()
