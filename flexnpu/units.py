# SPDX-License-Identifier: Apache-2.0
"""Sizes and durations as people write them: 8GiB, 50ms."""

from __future__ import annotations

import re

from flexnpu.errors import InvalidValue

_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%?\s*")
_LARGEST = 2**50


def parse_size(text: str) -> int:
    """Bytes of "8GiB", "512MiB", "1.5GB" or a bare number of bytes."""
    bytes_ = int(_parse(text, _BYTES, "size", "8GiB or 512MiB", bare=1))
    if not 1 <= bytes_ <= _LARGEST:
        raise InvalidValue(f"size {text!r} is out of range", next_step="give 1 byte to 1024 TiB, such as 8GiB")
    return bytes_


def parse_duration(text: str) -> float:
    """Seconds of "50ms", "1s", "200us" or "2min"."""
    seconds = _parse(text, _SECONDS, "duration", "50ms or 1s", bare=None)
    if not 0 < seconds <= 86400:
        raise InvalidValue(f"duration {text!r} is out of range", next_step="give over 0 and up to a day, such as 50ms")
    return seconds


def parse_percent(text: str) -> float:
    """25 of "25%", "25" or "25.0 %"."""
    found = _PERCENT.fullmatch(text)
    if found is None:
        raise InvalidValue(f"share {text!r} is not a percentage", next_step="write it like 25% or 12.5%")
    percent = float(found[1])
    if not 0.01 <= percent <= 100:
        raise InvalidValue(f"share {text!r} is out of range", next_step="give 0.01% to 100%, such as 25%")
    return percent


def format_size(bytes_: int) -> str:
    """The largest binary unit in which the number is 1 or more."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if bytes_ >= _BYTES[unit]:
            return f"{bytes_ / _BYTES[unit]:.4g} {unit}"
    return f"{bytes_} B"


def _parse(text: str, units: dict[str, float] | dict[str, int], what: str, example: str, *, bare: int | None) -> float:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise InvalidValue(f"{what} {text!r} is not a number with a unit", next_step=f"write it like {example}")
    number, unit = found.groups()
    if not unit and bare is not None:
        return float(number) * bare
    by_name = {name.casefold(): factor for name, factor in units.items()}
    factor = by_name.get(unit.casefold())
    if factor is None:
        shown = f"has the unknown unit {unit!r}" if unit else "has no unit"
        raise InvalidValue(f"{what} {text!r} {shown}", next_step=f"use {', '.join(units)}, as in {example}")
    return float(number) * factor
