# SPDX-License-Identifier: Apache-2.0
"""/api/v1/events"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from flexnpu.api import models
from flexnpu.api.node import Node
from flexnpu.errors import InvalidValue
from flexnpu.tenancy import EventView

router = APIRouter(tags=["events"])

ALIVE_EVERY_S = 15.0


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "model": models.Event}},
)
async def follow_events(node: Node, last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
    """Server-sent events, from the oldest that is known, or from the one after Last-Event-ID."""
    text = last_event_id or "0"
    if not (text.isascii() and text.isdigit()):
        raise InvalidValue(f"Last-Event-ID {text!r} is not an id of an event", next_step="send one, or none")
    events = node.events(int(text), ALIVE_EVERY_S)
    return StreamingResponse(_lines(events), media_type="text/event-stream")


async def _lines(events: AsyncIterator[EventView | None]) -> AsyncIterator[str]:
    yield ": events\n\n"
    async for event in events:
        if event is None:
            yield ": nothing new\n\n"
        else:
            data = models.Event.model_validate(event).model_dump_json()
            yield f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n"
