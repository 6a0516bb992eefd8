# SPDX-License-Identifier: Apache-2.0
"""What is to be looked at again: each key once, however often it is named, now or at a time to come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)


class Work(Generic[_Key]):
    """Named from any thread, taken by one. clock: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[_Key, float] = {}
        self._changed = threading.Condition()
        self._closed = False

    def add(self, key: _Key, after_s: float = 0.0) -> None:
        """Where it is named already, the earlier time holds."""
        due = self._clock() + after_s
        with self._changed:
            if due < self._due.get(key, float("inf")):
                self._due[key] = due
                self._changed.notify()

    def close(self) -> None:
        """Whoever waits gets None, now and from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> _Key | None:
        """The key that is due first, once it is; None when this is closed."""
        with self._changed:
            while not self._closed:
                key = min(self._due, key=self._due.__getitem__, default=None)
                wait_s = None if key is None else self._due[key] - self._clock()
                if key is not None and wait_s is not None and wait_s <= 0:
                    del self._due[key]
                    return key
                self._changed.wait(wait_s)
            return None
