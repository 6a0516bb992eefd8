# SPDX-License-Identifier: Apache-2.0
"""Policies by name, with settings where they are given: "duetserve,static:decode=0.25"."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from flexnpu.errors import InvalidValue, Refused
from flexnpu.planner import POLICIES, Policy

ALL = "all"
_NO_SETTINGS = {"name", "layout", "table"}  # of a policy's fields, those that are no numbers
_PHASES = ("prefill", "decode")  # devices of a pool, and the settings that count them


class Named(NamedTuple):
    """A policy under the name that it was asked for by. settings: those that were given with it."""

    name: str
    policy: Policy
    settings: Mapping[str, float] = MappingProxyType({})

    def on(self, devices: tuple[int, int]) -> Named:
        """The same on that pool: what has devices for each phase has the pool's. Refuses settings that say others."""
        if ":" not in self.policy.layout:
            return self
        pool = dict(zip(_PHASES, devices, strict=True))
        for name, count in pool.items():
            if self.settings.get(name, count) != count:
                raise Refused(
                    f"--policy {self.name!r} sets {name} to {self.settings[name]:g} devices; the pool "
                    f"{devices[0]}:{devices[1]} has {count}",
                    next_step="leave the setting out, or give that --pool",
                )
        fields = {field.name for field in dataclasses.fields(self.policy)}  # type: ignore[arg-type]
        own = {name: count for name, count in pool.items() if name in fields}
        return self._replace(policy=dataclasses.replace(self.policy, **own))  # type: ignore[type-var]


def parse_policies(text: str) -> list[Named]:
    """NAME[:FIELD=NUMBER…][,…], or "all". Raises InvalidValue with the names or fields that there are."""
    names = list(POLICIES) if text.strip() == ALL else [each.strip() for each in text.split(",")]
    if len(set(names)) < len(names):
        raise InvalidValue(f"--policy {text!r} names a policy twice", next_step="name each once")
    return [_named(name) for name in names]


def _named(text: str) -> Named:
    name, *settings = text.split(":")
    if name not in POLICIES:
        raise InvalidValue(f"--policy {name!r} is not known", next_step=f"give one of {', '.join(POLICIES)}, or all")
    make = POLICIES[name]
    allowed = [field.name for field in dataclasses.fields(make) if field.name not in _NO_SETTINGS]  # type: ignore[arg-type]
    given: dict[str, float] = {}
    for setting in settings:
        field, _, value = setting.partition("=")
        number = _number(value)
        if field not in allowed or number is None:
            fields = f"its settings are {', '.join(allowed)}" if allowed else "it has no settings"
            raise InvalidValue(
                f"--policy {text!r}: {setting!r} is no setting of {name}",
                next_step=f"{fields}, each with a number, such as static:decode=0.25",
            )
        given[field] = number
    try:
        return Named(text, make(**given), given)
    except InvalidValue as error:
        raise InvalidValue(f"--policy {text!r}: {error.message}", next_step=error.next_step) from error


def _number(text: str) -> float | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return None
    if not abs(value) < float("inf"):
        return None
    return int(value) if value.is_integer() else value  # 2e3 tokens
