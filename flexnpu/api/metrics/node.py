# SPDX-License-Identifier: Apache-2.0
"""Devices and vNPUs as metrics. Processes are counted by their vNPU: a label for each would never stop growing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flexnpu import __version__
from flexnpu.api.controller import Controller
from flexnpu.api.metrics.rows import Labels, Row, Samples, Table, each, info, one
from flexnpu.api.models import API_VERSION
from flexnpu.tenancy import DeviceCounts, DeviceView, NodeCounts, UseView, VNpuCounts, VNpuView


def pod_of(vnpu: VNpuView) -> Labels:
    """Namespace, pod and container, by the labels of those names; empty where nobody has told them."""
    return tuple(vnpu.labels.get(name, "") for name in ("namespace", "pod", "container"))


@dataclass(frozen=True, slots=True)
class Seen:
    """All of a node at one moment. name: of the node, for the label."""

    name: str
    page_version: int
    devices: Sequence[DeviceView]
    vnpus: Sequence[tuple[VNpuView, VNpuCounts]]
    counts: NodeCounts
    controllers: Sequence[Controller]


_DeviceSeen = tuple[DeviceView, NodeCounts]
_VNpuSeen = tuple[VNpuView, VNpuCounts]
_UseSeen = tuple[UseView, DeviceCounts]


def _build(seen: Seen) -> Labels:
    return __version__, str(seen.page_version), str(API_VERSION)


def _denials(seen: Seen) -> Samples:
    known: dict[Labels, float] = {("", reason): count for reason, count in seen.counts.denials.items()}
    for _, counts in seen.vnpus:
        known |= {(counts.vnpu, reason): count for reason, count in counts.denials.items()}
    return known


NODE: Sequence[Row[Seen]] = (
    Row(
        "flexnpu_build_info",
        "gauge",
        "1",
        "Versions of the package, of the page that tenants speak, and of the REST API.",
        info(_build),
        ("version", "page_version", "api_version"),
    ),
    Row(
        "flexnpu_denials_total",
        "counter",
        "denials",
        "What was refused. memory: allocations at the limit; quota: more than a device has free; the others: processes "
        "that would attach. vnpu is empty where no vNPU of that name is there.",
        _denials,
        ("vnpu", "reason"),
    ),
)


def _device_labels(seen: _DeviceSeen) -> Labels:
    return seen[0].soc, seen[0].kind, seen[0].clock or ""


DEVICE: Sequence[Row[_DeviceSeen]] = (
    Row(
        "flexnpu_device_info",
        "gauge",
        "1",
        "The device. kind: ascend, or software, whose times are modelled; clock: of a software one, free or paced.",
        info(_device_labels),
        ("soc", "kind", "clock"),
    ),
    Row(
        "flexnpu_device_usable",
        "gauge",
        "0 or 1",
        "1 while programs can use the device; 0 when it is lost.",
        one(lambda seen: float(seen[0].trouble is None)),
    ),
    Row("flexnpu_device_cores", "gauge", "cores", "Cube cores of the device.", one(lambda seen: seen[0].cores)),
    Row(
        "flexnpu_device_guaranteed_cores",
        "gauge",
        "cores",
        "Cube cores that are guaranteed to vNPUs; of those that take turns the most counts.",
        one(lambda seen: seen[0].cores - seen[0].cores_free),
    ),
    Row(
        "flexnpu_device_granted_cores",
        "gauge",
        "cores",
        "Cube cores that grants allow to be used now, older ones that are not given up yet too.",
        one(lambda seen: seen[1].granted_cores[seen[0].index]),
    ),
    Row(
        "flexnpu_device_used_cores",
        "gauge",
        "cores",
        "Cube cores that running tasks hold at this moment. Of a software NPU alone; 0 where its clock is free.",
        one(lambda seen: seen[1].used_cores[seen[0].index]),
        modelled=True,
    ),
    Row(
        "flexnpu_device_memory_bytes",
        "gauge",
        "bytes",
        "Memory of the device.",
        one(lambda seen: seen[0].memory_bytes),
    ),
    Row(
        "flexnpu_device_memory_guaranteed_bytes",
        "gauge",
        "bytes",
        "Memory that is guaranteed to vNPUs.",
        one(lambda seen: seen[0].memory_bytes - seen[0].memory_free),
    ),
    Row(
        "flexnpu_device_memory_used_bytes",
        "gauge",
        "bytes",
        "Memory in use, on no vNPU too. Of a software NPU alone.",
        one(lambda seen: seen[0].memory_used),
    ),
)


def _vnpu_labels(seen: _VNpuSeen) -> Labels:
    return seen[0].phase or "", *pod_of(seen[0])


def _share(seen: _VNpuSeen) -> float:
    return 1.0 if seen[0].share_percent is None else seen[0].share_percent / 100


VNPU: Sequence[Row[_VNpuSeen]] = (
    Row(
        "flexnpu_vnpu_info",
        "gauge",
        "1",
        "The vNPU: the phase that is declared for it, and what Kubernetes runs on it; empty where nobody said.",
        info(_vnpu_labels),
        ("phase", "namespace", "pod", "container"),
    ),
    Row(
        "flexnpu_vnpu_guaranteed_cores",
        "gauge",
        "cores",
        "Guaranteed cube cores, on each of its devices.",
        one(lambda seen: seen[0].cores),
    ),
    Row(
        "flexnpu_vnpu_burst_cores",
        "gauge",
        "cores",
        "Cube cores that idle ones of others may bring it to, on each of its devices.",
        one(lambda seen: seen[0].burst_cores),
    ),
    Row(
        "flexnpu_vnpu_memory_limit_bytes",
        "gauge",
        "bytes",
        "Memory limit, on each of its devices.",
        one(lambda seen: seen[0].memory_bytes),
    ),
    Row(
        "flexnpu_vnpu_share_ratio",
        "gauge",
        "0 to 1",
        "Share of device time; 1: it takes no turns.",
        one(_share),
    ),
    Row(
        "flexnpu_vnpu_desired_revision",
        "gauge",
        "revision",
        "Revision of the quota, which rises by one with each change.",
        one(lambda seen: seen[0].revision),
    ),
    Row(
        "flexnpu_vnpu_observed_revision",
        "gauge",
        "revision",
        "Newest revision that is in force in all of its processes.",
        one(lambda seen: seen[0].applied_revision),
    ),
    Row(
        "flexnpu_vnpu_quota_apply_seconds",
        "histogram",
        "seconds",
        "From a change of the quota until it was in force in all processes; of several at once, the newest.",
        one(lambda seen: seen[1].applies),
    ),
    Row("flexnpu_vnpu_tenants", "gauge", "processes", "Processes on the vNPU.", one(lambda seen: seen[0].tenants)),
    Row(
        "flexnpu_vnpu_leases_reclaimed_total",
        "counter",
        "leases",
        "Processes that ended, however they did, and whose cores and memory went back.",
        one(lambda seen: seen[1].leases_reclaimed),
    ),
    Row(
        "flexnpu_vnpu_gate_wait_seconds",
        "histogram",
        "seconds",
        "Waits of threads at the gate: for a turn, or to pay for more cores than are granted.",
        one(lambda seen: seen[1].waits),
        modelled=True,
    ),
    Row(
        "flexnpu_vnpu_operators_launched_total",
        "counter",
        "operators",
        "Two-phase operators that were launched.",
        one(lambda seen: seen[1].launched),
    ),
    Row(
        "flexnpu_vnpu_ungoverned_calls_total",
        "counter",
        "calls",
        "Calls that were passed on although no hook could govern them.",
        one(lambda seen: seen[1].ungoverned),
    ),
    Row(
        "flexnpu_vnpu_steps_total",
        "counter",
        "steps",
        "Steps of serving engines, by the phase that their operators tell.",
        each(lambda seen: seen[1].steps),
        ("phase",),
    ),
)
USE: Sequence[Row[_UseSeen]] = (
    Row(
        "flexnpu_vnpu_granted_cores",
        "gauge",
        "cores",
        "Cube cores granted now, lent ones included.",
        one(lambda seen: seen[0].granted_cores),
    ),
    Row(
        "flexnpu_vnpu_lent_cores",
        "gauge",
        "cores",
        "Cube cores beyond the guarantee, which others do not use now.",
        one(lambda seen: seen[0].lent_cores),
    ),
    Row(
        "flexnpu_vnpu_used_cores",
        "gauge",
        "cores",
        "Cube cores that its running tasks hold at this moment. Of a software NPU alone; 0 where its clock is free.",
        one(lambda seen: seen[1].used_cores),
        modelled=True,
    ),
    Row(
        "flexnpu_vnpu_core_seconds_total",
        "counter",
        "core-seconds",
        "Cube cores that it had, lent ones included, times how long; where it takes turns, times the device time "
        "charged. Who lends cores has them still.",
        one(lambda seen: seen[1].core_seconds),
    ),
    Row(
        "flexnpu_vnpu_device_seconds_total",
        "counter",
        "seconds",
        "Device time charged, where it takes turns.",
        one(lambda seen: seen[0].used_s),
        modelled=True,
    ),
    Row("flexnpu_vnpu_turns_total", "counter", "turns", "Turns it has had.", one(lambda seen: seen[0].turns)),
    Row(
        "flexnpu_vnpu_throttled_seconds_total",
        "counter",
        "seconds",
        "Time that its threads spent at the gate, added up.",
        one(lambda seen: seen[1].throttled_s),
        modelled=True,
    ),
    Row(
        "flexnpu_vnpu_launches_total",
        "counter",
        "launches",
        "What was put on the device's streams, by kind.",
        each(lambda seen: seen[1].launches),
        ("kind",),
    ),
    Row(
        "flexnpu_vnpu_memory_used_bytes",
        "gauge",
        "bytes",
        "Memory of all its processes.",
        one(lambda seen: seen[0].memory_used),
    ),
    Row(
        "flexnpu_vnpu_memory_peak_bytes",
        "gauge",
        "bytes",
        "The most it used at once.",
        one(lambda seen: seen[0].memory_peak),
    ),
)


def _vnpus(seen: Seen) -> Iterator[tuple[Labels, _VNpuSeen]]:
    return (((seen.name, vnpu.name), (vnpu, counts)) for vnpu, counts in seen.vnpus)


def _uses(seen: Seen) -> Iterator[tuple[Labels, _UseSeen]]:
    for vnpu, counts in seen.vnpus:
        for use, device in zip(vnpu.use, counts.devices, strict=True):
            yield (seen.name, vnpu.name, str(use.device)), (use, device)


def _devices(seen: Seen) -> Iterator[tuple[Labels, _DeviceSeen]]:
    return (((seen.name, str(device.index)), (device, seen.counts)) for device in seen.devices)


TABLES = (
    Table("Node", ("node",), NODE, lambda seen: [((seen.name,), seen)]),
    Table("Devices", ("node", "device"), DEVICE, _devices),
    Table("vNPUs", ("node", "vnpu"), VNPU, _vnpus),
    Table("vNPUs on each of their devices", ("node", "vnpu", "device"), USE, _uses),
)
