# SPDX-License-Identifier: Apache-2.0
"""The custom resource NodeNPU: what a node's devices are, what is free of them, and who has the rest."""

from __future__ import annotations

from collections.abc import Sequence

from device_plugin.cluster.api_server import ApiError, ApiServer, Object
from device_plugin.cluster.events import utc_now
from device_plugin.cluster.identity import pod_of
from flexnpu.client import Device, VNpu

GROUP, VERSION, PLURAL, KIND = "flexnpu.io", "v1alpha1", "nodenpus", "NodeNPU"
PATH = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
NOT_FOUND, CONFLICT = 404, 409


def status_of(devices: Sequence[Device], vnpus: Sequence[VNpu]) -> Object:
    """Amounts are per device and what is guaranteed, not what is used; memory in bytes. Free of the node is what a pod
    could be given: nothing of a lost device. The same for the same node, so that it is written only when something has
    changed."""
    usable = [device for device in devices if device.trouble is None]
    return {
        "devices": [_device(device) for device in devices],
        "vnpus": sorted((_vnpu(vnpu) for vnpu in vnpus), key=lambda each: each["name"]),
        "cores": sum(device.cores for device in devices),
        "coresFree": sum(device.cores_free for device in usable),
        "memoryBytes": sum(device.memory_bytes for device in devices),
        "memoryFreeBytes": sum(device.memory_free for device in usable),
    }


def _device(device: Device) -> Object:
    told = {"numaNode": device.numa_node, "trouble": device.trouble}
    return {
        "index": device.index,
        "uuid": device.uuid,
        "soc": device.soc,
        "kind": device.kind,
        "cores": device.cores,
        "coresFree": device.cores_free,
        "memoryBytes": device.memory_bytes,
        "memoryFreeBytes": device.memory_free,
        "healthy": device.trouble is None,
        **{key: value for key, value in told.items() if value is not None},
    }


def _vnpu(vnpu: VNpu) -> Object:
    pod = pod_of(vnpu)
    owner = {"namespace": pod.namespace, "pod": pod.pod, "container": pod.container} if pod else {}
    said = {"burstCores": vnpu.burst_cores, "sharePercent": vnpu.share_percent, "phase": vnpu.phase}
    return {
        "name": vnpu.name,
        **owner,
        "devices": list(vnpu.devices or [vnpu.device]),
        "cores": vnpu.cores,
        "memoryBytes": vnpu.memory_bytes,
        "revision": vnpu.revision,
        "tenants": vnpu.tenants,
        **{key: value for key, value in said.items() if value is not None},
    }


class Publisher:
    """Keeps the NodeNPU of one node as it is told. It belongs to the Node, and goes with it."""

    def __init__(self, api: ApiServer, node: str) -> None:
        self._api, self._node = api, node
        self._told: Object | None = None

    def publish(self, status: Object, *, ready: bool, why: str = "") -> bool:
        """Whether it had to be written. ready: the daemon answers; else status holds what it said last, and why the
        reason. ApiError, UnreachableError."""
        # An API server of 1.20 takes an empty text for none, and refuses that.
        told = {**status, "ready": ready, "message": why or "ready"}
        if told == self._told:
            return False
        self._write({**told, "observedAt": utc_now()})
        self._told = told
        return True

    def forget(self) -> None:
        """What is published may have been changed or deleted by others: the next publish() writes."""
        self._told = None

    def _write(self, status: Object) -> None:
        change = {"status": status}
        try:
            self._api.patch(f"{PATH}/{self._node}/status", change)
        except ApiError as error:
            if error.http != NOT_FOUND:
                raise
            self._make()
            self._api.patch(f"{PATH}/{self._node}/status", change)

    def _make(self) -> None:
        node = self._api.get(f"/api/v1/nodes/{self._node}")
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": node["metadata"]["uid"]}
        meta = {"name": self._node, "ownerReferences": [owner]}
        try:
            self._api.create(PATH, {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": meta})
        except ApiError as error:
            if error.http != CONFLICT:  # another agent of this node was quicker, as while one replaces the other
                raise
