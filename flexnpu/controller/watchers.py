# SPDX-License-Identifier: Apache-2.0
"""A thread for each thing that is watched, so that one that hangs or ends takes nothing from the others."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self


class Watchers:
    """They run while it is entered. end_within: seconds that each is waited for at the end."""

    def __init__(self, names: Iterable[str], label: str, end_within: float) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._end_within = end_within
        self._threads = [
            threading.Thread(target=self._run, args=(name,), name=f"{label} {name}", daemon=True) for name in names
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._end_within)

    def _run(self, name: str) -> None:
        """Watches it until _stop is set."""
        raise NotImplementedError
