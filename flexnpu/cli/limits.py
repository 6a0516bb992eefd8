# SPDX-License-Identifier: Apache-2.0
"""Options that say a quota, as the client takes them."""

from __future__ import annotations

from flexnpu.client import Limits
from flexnpu.errors import InvalidValue
from flexnpu.units import parse_percent


def limits(
    burst_cores: str | None,
    vector_cores: str | None,
    share: str | None,
    fixed_share: bool | None,
    priority: int | None,
) -> Limits:
    """Only what was given; "none" becomes None."""
    found: Limits = {}
    if burst_cores is not None:
        found["burst_cores"] = _cores("burst-cores", burst_cores)
    if vector_cores is not None:
        found["vector_cores"] = _cores("vector-cores", vector_cores)
    if share is not None:
        found["share_percent"] = None if share == "none" else parse_percent(share)
    if fixed_share is not None:
        found["fixed_share"] = fixed_share
    if priority is not None:
        found["priority"] = priority
    return found


def devices(text: str) -> list[int]:
    """0 and 1 of "0,1"."""
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise InvalidValue(f"device {text!r} is not an index", next_step="write it like 0, or several like 0,1")
    return [int(part) for part in parts]


def _cores(what: str, text: str) -> int | None:
    if text == "none":
        return None
    if not (text.isascii() and text.isdigit()):
        raise InvalidValue(f"{what} {text!r} is not a number of cores", next_step="write it like 8, or none")
    return int(text)
