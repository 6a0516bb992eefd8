# SPDX-License-Identifier: Apache-2.0
"""/api/v1/events"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from flexnpu.api import models
from flexnpu.api.node import Node
from flexnpu.api.streams import stream
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
    return stream(node.events(int(text), ALIVE_EVERY_S), _lines)


def _lines(event: EventView) -> str:
    data = models.Event.model_validate(event).model_dump_json()
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n"
