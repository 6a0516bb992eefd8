# SPDX-License-Identifier: Apache-2.0
"""Metrics once more, under names, labels and units of other exporters, for dashboards that are there. Off by default.

What they have and the daemon does not know (dies, PCIe addresses) is an empty label, or no metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from flexnpu.api.metrics.node import Seen, pod_of
from flexnpu.api.metrics.rows import AnyTable, Labels, Row, Samples, Table
from flexnpu.tenancy import DeviceCounts, DeviceView, UseView, VNpuView

_MIB: Final = 1 << 20
_KIB: Final = 1 << 10


class _Use:
    """A vNPU on the `at`-th of its devices."""

    def __init__(self, seen: Seen, vnpu: VNpuView, at: int, counts: DeviceCounts) -> None:
        self.vnpu, self.at, self.counts = vnpu, at, counts
        self.use: UseView = vnpu.use[at]
        self.device = next(each for each in seen.devices if each.index == self.use.device)

    @property
    def percent(self) -> float | None:
        """Cube cores in use, of those that are its own; with lent ones it may be all of them and more."""
        used = self.counts.used_cores
        return None if used is None else min(100.0, 100 * used / self.vnpu.cores)

    @property
    def pod(self) -> Labels:
        return pod_of(self.vnpu)


def _uses(seen: Seen) -> list[_Use]:
    return [_Use(seen, vnpu, at, device) for vnpu, counts in seen.vnpus for at, device in enumerate(counts.devices)]


def _percent(seen: Seen, device: DeviceView) -> float | None:
    used = seen.counts.used_cores[device.index]
    return None if used is None else 100 * used / device.cores


def _table(title: str, rows: Sequence[Row[Seen]]) -> Table[Seen, Seen]:
    return Table(title, (), rows, lambda seen: [((), seen)])


def _known(samples: Iterable[tuple[Labels, float | None]]) -> Samples:
    return {labels: value for labels, value in samples if value is not None}


# --- NPU Exporter: percents of 100, MB of a chip, KB of a vNPU ---

_CHIP_LABELS: Final = ("id", "model_name", "vdie_id", "pcie_bus_info", "namespace", "pod_name", "container_name")
_VNPU_LABELS: Final = (
    "id", "model_name", "v_dev_id", "aicore_count", "namespace", "pod_name", "container_name", "is_virtual"
)  # fmt: skip


def _chip(device: DeviceView) -> Labels:
    return str(device.index), device.soc, "", "", "", "", ""


def _virtual(each: _Use) -> Labels:
    return str(each.device.index), each.device.soc, str(each.vnpu.id), f"{each.vnpu.cores:.2f}", *each.pod, "true"


NPU_EXPORTER: Sequence[Row[Seen]] = (
    Row("machine_npu_nums", "gauge", "devices", "NPUs of the machine.", lambda seen: {(): len(seen.devices)}),
    Row(
        "npu_chip_info_name",
        "gauge",
        "1",
        "The NPU's name.",
        lambda seen: {_chip(device): 1 for device in seen.devices},
        ("id", "name", *_CHIP_LABELS[2:]),
    ),
    Row(
        "npu_chip_info_health_status",
        "gauge",
        "0 or 1",
        "1 while programs can use the NPU.",
        lambda seen: {_chip(device): float(device.trouble is None) for device in seen.devices},
        _CHIP_LABELS,
    ),
    Row(
        "npu_chip_info_utilization",
        "gauge",
        "%",
        "Use of the AI cores.",
        lambda seen: _known((_chip(device), _percent(seen, device)) for device in seen.devices),
        _CHIP_LABELS,
        modelled=True,
    ),
    Row(
        "npu_chip_info_hbm_total_memory",
        "gauge",
        "MB",
        "Memory of the NPU.",
        lambda seen: {_chip(device): device.memory_bytes // _MIB for device in seen.devices},
        _CHIP_LABELS,
    ),
    Row(
        "npu_chip_info_hbm_used_memory",
        "gauge",
        "MB",
        "Memory in use.",
        lambda seen: _known(
            (_chip(device), None if device.memory_used is None else device.memory_used // _MIB)
            for device in seen.devices
        ),
        _CHIP_LABELS,
    ),
    Row(
        "vnpu_pod_aicore_utilization",
        "gauge",
        "%",
        "Use of the vNPU's AI cores.",
        lambda seen: _known((_virtual(each), each.percent) for each in _uses(seen)),
        _VNPU_LABELS,
        modelled=True,
    ),
    Row(
        "vnpu_pod_total_memory",
        "gauge",
        "KB",
        "Memory limit of the vNPU.",
        lambda seen: {_virtual(each): each.vnpu.memory_bytes // _KIB for each in _uses(seen)},
        _VNPU_LABELS,
    ),
    Row(
        "vnpu_pod_used_memory",
        "gauge",
        "KB",
        "Memory in use on the vNPU.",
        lambda seen: {_virtual(each): each.use.memory_used // _KIB for each in _uses(seen)},
        _VNPU_LABELS,
    ),
)

# --- HAMi: bytes, and ratios that are percents of 100 ---

_HOST_LABELS: Final = ("node", "device_index", "device_uuid", "device_type")
_CONTAINER_LABELS: Final = ("namespace", "pod", "container", "vdevice_index", "device_uuid")


def _host(seen: Seen, device: DeviceView) -> Labels:
    return seen.name, str(device.index), device.uuid, f"Ascend-{device.soc}"


def _container(each: _Use) -> Labels:
    return *each.pod, str(each.at), each.device.uuid


def _in_pods(seen: Seen) -> list[_Use]:
    """HAMi has containers alone; without their names two vNPUs would be one."""
    return [each for each in _uses(seen) if each.vnpu.labels.get("pod")]


HAMI: Sequence[Row[Seen]] = (
    Row(
        "hami_host_gpu_memory_used_bytes",
        "gauge",
        "bytes",
        "Memory in use.",
        lambda seen: _known((_host(seen, device), device.memory_used) for device in seen.devices),
        _HOST_LABELS,
    ),
    Row(
        "hami_host_gpu_utilization_ratio",
        "gauge",
        "0 to 100",
        "Use of the AI cores, 0 to 100.",
        lambda seen: _known((_host(seen, device), _percent(seen, device)) for device in seen.devices),
        _HOST_LABELS,
        modelled=True,
    ),
    Row(
        "hami_vgpu_memory_used_bytes",
        "gauge",
        "bytes",
        "Memory in use on the vNPU.",
        lambda seen: {_container(each): each.use.memory_used for each in _in_pods(seen)},
        _CONTAINER_LABELS,
    ),
    Row(
        "hami_vgpu_memory_limit_bytes",
        "gauge",
        "bytes",
        "Memory limit of the vNPU.",
        lambda seen: {_container(each): each.vnpu.memory_bytes for each in _in_pods(seen)},
        _CONTAINER_LABELS,
    ),
    Row(
        "hami_container_device_utilization_ratio",
        "gauge",
        "0 to 100",
        "Use of the vNPU's AI cores, 0 to 100.",
        lambda seen: _known((_container(each), each.percent) for each in _in_pods(seen)),
        _CONTAINER_LABELS,
        modelled=True,
    ),
)

TABLES: Mapping[str, Sequence[AnyTable[Seen]]] = {
    "npu-exporter": (_table("NPU Exporter", NPU_EXPORTER),),
    "hami": (_table("HAMi", HAMI),),
}
