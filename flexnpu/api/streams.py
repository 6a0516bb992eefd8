# SPDX-License-Identifier: Apache-2.0
"""Server-sent events from what a node tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from fastapi.responses import StreamingResponse

_Told = TypeVar("_Told")


def stream(told: AsyncIterator[_Told | None], one: Callable[[_Told], str]) -> StreamingResponse:
    """`one`: the lines of one; None is said as a comment, so that a reader that is gone is noticed."""
    return StreamingResponse(_lines(told, one), media_type="text/event-stream")


async def _lines(told: AsyncIterator[_Told | None], one: Callable[[_Told], str]) -> AsyncIterator[str]:
    yield ": listening\n\n"
    async for each in told:
        yield ": nothing new\n\n" if each is None else one(each)
