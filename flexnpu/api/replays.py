# SPDX-License-Identifier: Apache-2.0
"""Idempotency-Key: a POST that is sent again, because its answer was lost, gets the answer of the first.

For as long as the daemon lives, and for a day at most; the newest answers are kept.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Header
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flexnpu.api import problems
from flexnpu.api.callers import Caller
from flexnpu.errors import FlexNpuError, KeyReused, Malformed, Refused

KEPT_S: Final = 86_400.0
KEPT: Final = 1024
MOST_ANSWER_BYTES: Final = 64 << 10
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,255}")
# What another try may get past is not kept.
_PASSING: Final = frozenset({401, 403, 408, 429})


@dataclass(slots=True)
class _Answer:
    """To a request of that digest; not over yet where `body` is None."""

    digest: bytes
    at: float
    start: Message | None = None
    body: bytes | None = None
    parts: list[bytes] = field(default_factory=list)


class Replays:
    """Must come behind what knows the caller and has read the body."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._clock = app, clock
        self._answers: OrderedDict[tuple[str, bytes], _Answer] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = dict(scope["headers"]).get(b"idempotency-key")
        if key is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            known = self._find(scope, key)
        except FlexNpuError as error:
            await problems.respond(error, scope)(scope, receive, send)
            return
        if known is None:
            await self._first(scope, receive, send, key)
            return
        assert known.start is not None
        headers = [*known.start["headers"], (b"idempotency-replayed", b"true")]
        await send({**known.start, "headers": headers})
        await send({"type": "http.response.body", "body": known.body})

    def _find(self, scope: Scope, key: bytes) -> _Answer | None:
        if not _KEY.fullmatch(key):
            raise Malformed(
                "Idempotency-Key is not usable", next_step="send 1 to 255 visible ASCII characters, a UUID say"
            )
        known = self._answers.get(_name(scope, key))
        if known is None or self._clock() - known.at > KEPT_S:
            return None
        if known.digest != _digest(scope):
            raise KeyReused(
                "this Idempotency-Key came with another request before", next_step="use a key once, a UUID say"
            )
        if known.body is None:
            raise Refused("the first request of this Idempotency-Key is not over", next_step="wait, then send it again")
        return known

    async def _first(self, scope: Scope, receive: Receive, send: Send, key: bytes) -> None:
        name = _name(scope, key)
        answer = self._answers[name] = _Answer(_digest(scope), self._clock())
        self._answers.move_to_end(name)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.start = {
                    **message,
                    "headers": [each for each in message["headers"] if each[0] != b"x-request-id"],
                }
            else:
                answer.parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    answer.body = b"".join(answer.parts)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            answer.parts.clear()
            if not _is_lasting(answer):
                self._answers.pop(name, None)
            if len(self._answers) > KEPT:
                self._answers.popitem(last=False)


def _is_lasting(answer: _Answer) -> bool:
    if answer.start is None or answer.body is None or len(answer.body) > MOST_ANSWER_BYTES:
        return False
    status = answer.start["status"]
    return status < 500 and status not in _PASSING


def _name(scope: Scope, key: bytes) -> tuple[str, bytes]:
    caller: Caller = scope["state"]["caller"]
    return f"{caller.kind} {caller.name}", key


def _digest(scope: Scope) -> bytes:
    path = f"{scope['path']}?".encode() + scope["query_string"]
    return hashlib.sha256(path + b"\0" + scope["state"]["body"]).digest()


async def _documented(
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Sent again with the same key and body, a request gets the first answer and does nothing.",
            json_schema_extra={"pattern": "^[!-~]{1,255}$"},
        ),
    ] = None,
) -> None:
    """Replays have seen to it."""


TakesKey = Depends(_documented)
