# SPDX-License-Identifier: Apache-2.0
"""If-Match and ETag: a change says which revision it is of. The ETag is the revision of the quota, in quotes."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Depends, Header

from flexnpu.errors import Malformed, RevisionChanged, RevisionMissing

_TAG = re.compile(r'"([0-9]{1,18})"')
_WEAK = re.compile(r'W/"[^"]*"')
_NEXT_STEP: Final = 'read it first and send its ETag, as in If-Match: "3"; or * for whatever it is'

IfMatch = Annotated[
    str | None,
    Header(
        description='The ETag that was read, `"REVISION"`; `*` for whatever it is now.',
        json_schema_extra={"pattern": r'^(\*|"[0-9]{1,18}")$'},
    ),
]


def etag(revision: int) -> str:
    """As the header has it."""
    return f'"{revision}"'


async def _optional(if_match: IfMatch = None) -> int | None:
    return None if if_match is None else _revision(if_match.strip())


async def _required(if_match: IfMatch = None) -> int | None:
    if if_match is None:
        raise RevisionMissing("If-Match is missing", next_step=_NEXT_STEP)
    return _revision(if_match.strip())


def _revision(text: str) -> int | None:
    if text == "*":
        return None
    if _WEAK.fullmatch(text):
        raise RevisionChanged(f"If-Match {text} is weak, and matches no revision", next_step=_NEXT_STEP)
    found = _TAG.fullmatch(text)
    if found is None:
        raise Malformed(f"If-Match {text!r} is no ETag of a vNPU", next_step=_NEXT_STEP)
    return int(found[1])


# The revision that must be there; None: any.
RequiredMatch = Annotated[int | None, Depends(_required)]
OptionalMatch = Annotated[int | None, Depends(_optional)]
