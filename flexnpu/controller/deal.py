# SPDX-License-Identifier: Apache-2.0
"""Which service has how many of a device's cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from flexnpu.planner import Rules, Tenant, share_cores


class Deal(NamedTuple):
    """Cores by service, and why."""

    cores: Mapping[str, int]
    reason: str


def deal(cores: int, tenants: Sequence[Tenant], now: Mapping[str, int], rules: Rules) -> Deal:
    """Of so many cores, all of them. now: what each service has."""
    current = [now[each.name] for each in tenants] if all(each.name in now for each in tenants) else None
    found = share_cores(cores, tenants, replace(rules, current=current))
    dealt = dict(zip((each.name for each in tenants), found.cores, strict=True))
    total = sum(each.weight for each in tenants)
    left = cores - sum(found.cores)
    for each in sorted(tenants, key=lambda tenant: tenant.weight):  # what no request needs, by weight
        extra = round(left * each.weight / total)
        dealt[each.name] += extra
        left, total = left - extra, total - each.weight
    return Deal(dealt, found.reason)
