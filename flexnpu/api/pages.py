# SPDX-License-Identifier: Apache-2.0
"""Lists in parts. A cursor holds the key of the last item that was sent, so that what comes and goes between two
requests neither repeats an item nor hides one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

from fastapi import Query

from flexnpu.errors import Malformed

_Item = TypeVar("_Item")
Cut = tuple[list[_Item], str | None]

MOST_ITEMS = 1000

Limit = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="items of one answer")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the answer before; none to begin")]


def encode(key: int | str) -> str:
    """A key as a cursor."""
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def decode(cursor: str | None) -> str | None:
    """The key of a cursor; Malformed when it is none of ours."""
    if cursor is None:
        return None
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _unknown(cursor) from error
    if not key or encode(key) != cursor:
        raise _unknown(cursor)
    return key


def decode_number(cursor: str | None) -> int | None:
    """The same where keys are numbers."""
    key = decode(cursor)
    if key is not None and not (key.isascii() and key.isdigit() and len(key) < 19):
        raise _unknown(str(cursor))
    return None if key is None else int(key)


def cut(items: Iterable[_Item], most: int, key: Callable[[_Item], int | str]) -> Cut[_Item]:
    """The first `most` of the items, which begin behind the cursor, and the next cursor."""
    found = [item for _, item in zip(range(most + 1), items, strict=False)]
    page = found[:most]
    return page, encode(key(page[-1])) if len(found) > most else None


def _unknown(cursor: str) -> Malformed:
    return Malformed(f"cursor {cursor[:80]!r} is none of this list", next_step="begin again without a cursor")
