# SPDX-License-Identifier: Apache-2.0
"""Those who follow what happens, each from where it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TypeVar

from flexnpu.errors import Unavailable

_Told = TypeVar("_Told")

MOST_READERS = 64


def _never() -> bool:
    return False


class Readers:
    """what: they follow, as a refusal says it. gather_s: what happens within so long of what was told last is told at
    once: to tell fifty readers of each thing by itself would take longer than the things do."""

    def __init__(self, what: str, gather_s: float = 0.0) -> None:
        self._what, self._gather_s = what, gather_s
        self._news: set[asyncio.Event] = set()
        self._closed = False

    def close(self) -> None:
        """They end."""
        self._closed = True
        self.wake()

    def wake(self) -> None:
        """There may be something new for some of them."""
        for news in self._news:
            news.set()

    def follow(
        self, fresh: Callable[[], Iterable[_Told]], idle_s: float, over: Callable[[], bool] = _never
    ) -> AsyncGenerator[list[_Told], None]:
        """What `fresh` gives whenever they are woken, and nothing whenever nothing was told for so long; until over."""
        if len(self._news) >= MOST_READERS:
            raise Unavailable(f"{MOST_READERS} readers follow {self._what} already", next_step="let one of them end")
        return self._follow(fresh, idle_s, over)

    async def _follow(
        self, fresh: Callable[[], Iterable[_Told]], idle_s: float, over: Callable[[], bool]
    ) -> AsyncGenerator[list[_Told], None]:
        news, now = asyncio.Event(), asyncio.get_running_loop().time
        self._news.add(news)
        told = now()
        try:
            while not self._closed and not over():
                news.clear()
                if found := [*fresh()]:
                    soon = now() + self._gather_s
                    yield found
                    told = now()
                    if soon > told:
                        await asyncio.sleep(soon - told)
                try:
                    # Woken for others, it is as silent as before.
                    await asyncio.wait_for(news.wait(), told + idle_s - now())
                except TimeoutError:
                    yield []
                    told = now()
        finally:
            self._news.discard(news)
