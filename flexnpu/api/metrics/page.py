# SPDX-License-Identifier: Apache-2.0
"""The page that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from flexnpu.api.metrics import controller, node
from flexnpu.api.metrics.aliases import TABLES as ALIASES
from flexnpu.api.metrics.node import Seen
from flexnpu.api.metrics.rows import AnyTable

TABLES: Sequence[AnyTable[Seen]] = (*node.TABLES, *controller.TABLES)


def page(seen: Seen, aliases: Sequence[str] = ()) -> bytes:
    """In Prometheus's text format. aliases: under these names too, some of naming.ALIASES."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(seen, [*TABLES, *(table for each in aliases for table in ALIASES[each])]))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, seen: Seen, tables: Sequence[AnyTable[Seen]]) -> None:
        self._seen, self._tables = seen, tables

    def collect(self) -> Iterator[Metric]:
        for table in self._tables:
            yield from table.families(self._seen)
