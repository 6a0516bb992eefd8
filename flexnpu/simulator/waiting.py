# SPDX-License-Identifier: Apache-2.0
"""Who waits, as a queue and, beside it, as columns, so that a snapshot of hundreds costs no loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.simulator.request import Request

_ROOM = 64  # places kept free before the first, for who is put back
_FEW = 16  # places
_AS_IT_IS = tuple(range(4096))


class Waiting:
    """First come, first served, unless it is reordered."""

    __slots__ = ("_columns", "_first", "_queue")

    def __init__(self) -> None:
        self._queue: deque[Request] = deque()
        self._columns: Floats = np.empty((2, 4 * _ROOM))  # tokens to compute, and since when
        self._first = _ROOM

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._queue)

    @property
    def head(self) -> Request:
        return self._queue[0]

    def append(self, request: Request) -> None:
        place = self._first + len(self._queue)
        if place == self._columns.shape[1]:
            self._make_room()
            place = self._first + len(self._queue)
        self._write(place, request)
        self._queue.append(request)

    def put_first(self, request: Request) -> None:
        if not self._first:
            self._make_room()
        self._first -= 1
        self._write(self._first, request)
        self._queue.appendleft(request)

    def pop(self) -> Request:
        self._first += 1
        return self._queue.popleft()

    def reorder(self, order: tuple[int, ...], among: int, start: int = 0) -> None:
        """Put the first `among` in that order, of places from `start`; who is not named follows as before."""
        if order == _AS_IT_IS[start : start + len(order)]:
            return
        queue = self._queue
        among = min(among, len(queue))
        if len(order) < among:
            named = set(order)
            order = (*order, *(place for place in range(start, start + among) if place not in named))
        # Mostly an order is as before but for a few, who came since or are late by now.
        first, last = _moved(order, start)
        moved = list(islice(queue, first, last))
        places = [place - start - first for place in order[first:last]]
        for at, place in enumerate(places, first):
            queue[at] = moved[place]
        window = self._columns[:, self._first + first : self._first + last]
        window[:] = window[:, places]

    def columns(self, count: int, tokens: Sequence[float] = (), since: Sequence[float] = ()) -> tuple[Floats, Floats]:
        """Tokens to compute, and since when they wait, of others (`tokens`, `since`) and of the first `count`.

        Views: valid until the queue changes or they are asked for again.
        """
        if len(tokens) > self._first:
            self._make_room(len(tokens))
        start, end = self._first - len(tokens), self._first + min(count, len(self._queue))
        if tokens:
            self._columns[0, start : self._first] = tokens
            self._columns[1, start : self._first] = since
        return self._columns[0, start:end], self._columns[1, start:end]

    def _write(self, place: int, request: Request) -> None:
        self._columns[0, place] = request.target
        self._columns[1, place] = request.since

    def _make_room(self, first: int = 0) -> None:
        """Free places on both sides, at least `first` before."""
        count, first = len(self._queue), max(first, _ROOM)
        kept = self._columns[:, self._first : self._first + count]
        columns = np.empty((2, first + 2 * count + 3 * _ROOM))
        columns[:, first : first + count] = kept
        self._columns, self._first = columns, first


def _moved(order: tuple[int, ...], start: int) -> tuple[int, int]:
    """From where to where it is another order, which is mostly a few places near the end."""
    last = len(order)
    while order[last - 1] == start + last - 1:
        last -= 1
    span = _FEW
    # To compare tuples takes less than to count.
    while order[: max(last - span, 0)] != _AS_IT_IS[start : start + max(last - span, 0)]:
        span *= 4
    first = max(last - span, 0)
    while order[first] == start + first:
        first += 1
    return first, last
