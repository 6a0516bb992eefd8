# SPDX-License-Identifier: Apache-2.0
"""What the host does to a thread meanwhile: how late one wakes that does nothing but nap. A tenant's threads are not
better off, so a gap is not shorter than this.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

_NAP_S = 0.001


class Stalls:
    """As a context; longest_s, in seconds."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._nap, name="flexnpu-stalls", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _nap(self) -> None:
        while not self._stop.is_set():
            due = time.monotonic() + _NAP_S
            time.sleep(_NAP_S)
            self.longest_s = max(self.longest_s, time.monotonic() - due)
