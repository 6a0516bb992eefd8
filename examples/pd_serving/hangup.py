# SPDX-License-Identifier: Apache-2.0
"""Tells at once when a client hangs up, while the thread that answers it sleeps on something else."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Hangups:
    """One thread watches all connections."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._notes: dict[int, Callable[[], None]] = {}
        threading.Thread(target=self._watch, name="hangups", daemon=True).start()

    @contextmanager
    def watched(self, connection: socket.socket, note: Callable[[], None]) -> Iterator[None]:
        """Within, `note` is called once if the other end closes the connection; by the watching thread."""
        descriptor = connection.fileno()
        with self._lock:
            self._notes[descriptor] = note
        self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLONESHOT)
        try:
            yield
        finally:
            with self._lock:  # a note that is being called has been by the end of this
                del self._notes[descriptor]
            with suppress(OSError):
                self._epoll.unregister(descriptor)

    def _watch(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll():
                with self._lock:
                    note = self._notes.get(descriptor)
                    # The number may be another connection's by now, which is still there.
                    if note is not None and _hung_up(descriptor):
                        note()


def _hung_up(descriptor: int) -> bool:
    asked = select.poll()
    asked.register(descriptor, select.POLLRDHUP)
    return bool(asked.poll(0))
