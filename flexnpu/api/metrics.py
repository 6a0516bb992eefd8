# SPDX-License-Identifier: Apache-2.0
"""The node in Prometheus's words: GET /metrics. Every metric is a row of a table here; docs/reference.md shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flexnpu.api.node import Node, NodeService
from flexnpu.tenancy import DeviceView, TenantView, UseView, VNpuView

_Seen = TypeVar("_Seen")
Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row(Generic[_Seen]):
    """A metric; a counter's name ends in _total."""

    name: str
    meaning: str
    value: Callable[[_Seen], float]


def _share(seen: VNpuView) -> float:
    return 1.0 if seen.share_percent is None else seen.share_percent / 100


DEVICE: Sequence[Row[DeviceView]] = (
    Row("flexnpu_device_cores", "Cube cores of the device.", lambda seen: seen.cores),
    Row("flexnpu_device_cores_free", "Cube cores that are guaranteed to nobody.", lambda seen: seen.cores_free),
    Row("flexnpu_device_memory_bytes", "Memory of the device.", lambda seen: seen.memory_bytes),
    Row("flexnpu_device_memory_free_bytes", "Memory that is guaranteed to nobody.", lambda seen: seen.memory_free),
)
VNPU: Sequence[Row[VNpuView]] = (
    Row("flexnpu_vnpu_cores", "Guaranteed cube cores, on each of its devices.", lambda seen: seen.cores),
    Row("flexnpu_vnpu_memory_limit_bytes", "Memory limit, on each of its devices.", lambda seen: seen.memory_bytes),
    Row("flexnpu_vnpu_share_ratio", "Share of device time; 1: it takes no turns.", _share),
    Row("flexnpu_vnpu_revision", "Revision of the quota.", lambda seen: seen.revision),
    Row("flexnpu_vnpu_applied_revision", "Newest revision in force in all.", lambda seen: seen.applied_revision),
    Row("flexnpu_vnpu_tenants", "Processes on the vNPU.", lambda seen: seen.tenants),
)
USE: Sequence[Row[UseView]] = (
    Row("flexnpu_vnpu_granted_cores", "Cube cores granted now, lent ones included.", lambda seen: seen.granted_cores),
    Row("flexnpu_vnpu_lent_cores", "Cube cores beyond the guarantee.", lambda seen: seen.lent_cores),
    Row("flexnpu_vnpu_memory_used_bytes", "Memory of all its processes.", lambda seen: seen.memory_used),
    Row("flexnpu_vnpu_memory_peak_bytes", "The most it used at once.", lambda seen: seen.memory_peak),
    Row("flexnpu_vnpu_device_seconds_total", "Device time charged, where it takes turns.", lambda seen: seen.used_s),
    Row("flexnpu_vnpu_turns_total", "Turns it has had.", lambda seen: seen.turns),
)
TENANT: Sequence[Row[TenantView]] = (
    Row("flexnpu_tenant_memory_used_bytes", "Memory of the process.", lambda seen: seen.memory_used),
    Row("flexnpu_tenant_memory_denied_total", "Allocations refused at the limit.", lambda seen: seen.memory_denied),
    Row("flexnpu_tenant_gate_wait_seconds_total", "Time its threads spent at the gate.", lambda seen: seen.waited_s),
    Row("flexnpu_tenant_launched_total", "Operators launched.", lambda seen: seen.launched),
    Row("flexnpu_tenant_ungoverned_total", "Calls that no hook could govern.", lambda seen: seen.ungoverned),
)

router = APIRouter(tags=["daemon"])


@router.get("/metrics", response_class=Response)
async def metrics(node: Node) -> Response:
    """Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(node))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _NodeCollector(Collector):
    def __init__(self, node: NodeService) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        devices, vnpus = self._node.devices(), self._node.vnpus()
        yield from _families(DEVICE, ("device",), (((str(seen.index),), seen) for seen in devices))
        yield from _families(VNPU, ("vnpu",), (((seen.name,), seen) for seen in vnpus))
        used = (((seen.name, str(use.device)), use) for seen in vnpus for use in seen.use)
        yield from _families(USE, ("vnpu", "device"), used)
        tenants = (((seen.vnpu, str(seen.pid)), seen) for seen in self._node.tenants())
        yield from _families(TENANT, ("vnpu", "pid"), tenants)


def _families(rows: Sequence[Row[_Seen]], labels: Values, seen: Iterable[tuple[Values, _Seen]]) -> Iterator[Metric]:
    all_seen = list(seen)
    for row in rows:
        kind = CounterMetricFamily if row.name.endswith("_total") else GaugeMetricFamily
        family = kind(row.name, row.meaning, labels=labels)
        for values, each in all_seen:
            family.add_metric(values, row.value(each))
        yield family
