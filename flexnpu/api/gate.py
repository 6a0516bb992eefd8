# SPDX-License-Identifier: Apache-2.0
"""What every request passes before it comes to a route, from the outside in: an id, who asks, bounds of its size, and
whether it has been answered before."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flexnpu.api import problems
from flexnpu.api.access import Access
from flexnpu.api.callers import Peer
from flexnpu.errors import FlexNpuError, TooLarge, Unauthenticated

MOST_BODY_BYTES: Final = 1 << 20
MOST_HEADER_BYTES: Final = 16 << 10
BODY_WITHIN_S: Final = 10.0
_USABLE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestIds:
    """X-Request-Id: the caller's own, where it is one, or a new one; in every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        known = given.decode() if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = known

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[problems.REQUEST_ID] = known
            await send(message)

        await self._app(scope, receive, named)


class Entrance:
    """Puts the caller into the request's state, or refuses."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
            await problems.http_problem(431, "Request Header Fields Too Large", scope)(scope, receive, send)
            return
        try:
            peer: Peer | None = scope["state"].get("peer")
            if peer is None:  # of no listener of ours
                raise Unauthenticated("the connection does not say who asks", next_step="use the admin socket")
            scope["state"]["caller"] = self._access.admit(peer, scope["path"], dict(scope["headers"]))
        except FlexNpuError as error:
            await problems.respond(error, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Bodies:
    """Reads the body before anything is done, within bounds of bytes and time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await _read(receive)
        except TimeoutError:
            headers = {"Connection": "close"}
            await problems.http_problem(408, "Request Timeout", scope, headers)(scope, receive, send)
            return
        except TooLarge as error:
            await problems.respond(error, scope)(scope, receive, send)
            return
        if body is None:
            return
        scope["state"]["body"] = body
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)


async def _read(receive: Receive) -> bytes | None:
    """None when the caller is gone."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BODY_BYTES:
            raise TooLarge(
                f"the body has more than {MOST_BODY_BYTES} bytes",
                next_step="send less at once",
                limit=MOST_BODY_BYTES,
                requested=size,
            )
        if not message.get("more_body", False):
            return b"".join(parts)
