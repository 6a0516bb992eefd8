# SPDX-License-Identifier: Apache-2.0
"""Those who wait for something to become true of vNPUs and tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Waiting:
    """Conditions are asked again at look(), which whoever changes something calls."""

    def __init__(self) -> None:
        self._entries: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Whether it was true within that time."""
        if condition():
            return True
        entry = (condition, asyncio.get_running_loop().create_future())
        self._entries.append(entry)
        try:
            await asyncio.wait_for(entry[1], within_s)
        except TimeoutError:
            return condition()
        finally:
            self._entries.remove(entry)
        return True

    def look(self) -> None:
        for condition, future in self._entries:
            if not future.done() and condition():
                future.set_result(None)
