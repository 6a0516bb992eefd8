# SPDX-License-Identifier: Apache-2.0
"""Server-sent events from what a node tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from flexnpu.api.access import Access

_Told = TypeVar("_Told")

# Nothing between the daemon and the reader may keep what is told to itself.
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_RETRY_MS: Final = 1000


class EventStream(StreamingResponse):
    media_type = "text/event-stream"


def described(model: type[BaseModel], meaning: str) -> dict[int | str, dict[str, Any]]:
    """The answer of a route; `model`: what the data lines hold."""
    return {200: {"model": model, "description": meaning}}


def stream(request: Request, told: AsyncIterator[list[_Told]], one: Callable[[_Told], str]) -> EventStream:
    """`one`: the lines of one; that there are none is said as a comment, so that a reader that is gone is noticed. Ends
    when the token that it was asked with is taken away."""
    access: Access = request.app.state.access

    async def lines() -> AsyncIterator[str]:
        yield f": listening\nretry: {_RETRY_MS}\n\n"
        async for each in told:
            if not access.is_still_known(request.state.caller):
                return
            yield "".join(map(one, each)) or ": nothing new\n\n"

    return EventStream(lines(), headers=_HEADERS)
