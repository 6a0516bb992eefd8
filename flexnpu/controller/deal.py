# SPDX-License-Identifier: Apache-2.0
"""Which service has how many of a device's cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flexnpu.planner import Rules, Tenant, share_cores


class Deal(NamedTuple):
    """Cores by service, and why; no reason where one service has them all."""

    cores: Mapping[str, int]
    reason: str = ""


def deal(cores: int, tenants: Sequence[Tenant], now: Mapping[str, int], rules: Rules) -> Deal:
    """Of so many cores. now: what each service has."""
    if len(tenants) == 1:
        return Deal({tenants[0].name: cores})
    current = [now[each.name] for each in tenants] if all(each.name in now for each in tenants) else None
    found = share_cores(cores, tenants, Rules(current, rules.band, rules.switch_seconds, rules.fairness))
    return Deal({each.name: count for each, count in zip(tenants, found.cores, strict=True)}, found.reason)
