# SPDX-License-Identifier: Apache-2.0
"""/api/v1/events"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Annotated

from fastapi import Header, Query, Request

from flexnpu.api import models, problems
from flexnpu.api.node import Node
from flexnpu.api.routes import router_of
from flexnpu.api.streams import EventStream, described, stream
from flexnpu.errors import Malformed
from flexnpu.tenancy import EventView

router = router_of("events")

ALIVE_EVERY_S = 15.0


@router.get(
    "",
    response_class=EventStream,
    responses={**described(models.Event, "Events as they happen, until the daemon ends."), **problems.of(400)},
)
async def follow_events(
    request: Request,
    node: Node,
    last_event_id: Annotated[
        str | None,
        Header(description="The id of the event that was read last.", json_schema_extra={"pattern": "^[0-9]{1,18}$"}),
    ] = None,
    follow: Annotated[bool, Query(description="false: the answer ends with the newest that is known")] = True,
) -> EventStream:
    """Server-sent events, from the oldest that is known, or from the one after Last-Event-ID. An event `resync` comes
    first where some of them are not known any more. A comment comes every 15 seconds in which nothing happens."""
    after = _id(last_event_id)
    told = node.events(after, ALIVE_EVERY_S) if follow else _known(node.events(after, 0.0))
    return stream(request, told, _lines)


async def _known(told: AsyncIterator[list[EventView]]) -> AsyncIterator[list[EventView]]:
    """Until there is nothing new."""
    async for events in told:
        if not events:
            return
        yield events


def _id(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Malformed(f"Last-Event-ID {text[:40]!r} is not an id of an event", next_step="send one, or none")
    return int(text)


@lru_cache(maxsize=256)  # every reader is told the same
def _lines(event: EventView) -> str:
    data = models.Event.model_validate(event).model_dump_json()
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n"
