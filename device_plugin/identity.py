# SPDX-License-Identifier: Apache-2.0
"""Whose is what, by the kubelet's word: its podresources API, v1, or v1alpha1 of kubelets before 1.20.

The plugin is never told which pod it allocates for. It does not guess: units that a container holds are looked up here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from device_plugin.claims import of_kind
from device_plugin.units import CARRIERS, Inventory, Kind, Unit
from device_plugin.wire import podresources_v1_pb2 as v1
from device_plugin.wire import podresources_v1alpha1_pb2 as v1alpha1
from device_plugin.wire.services import call, channel
from flexnpu.errors import Unavailable

WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Holder:
    """A container and the units that it holds. Init containers are not told, but for those that run on."""

    namespace: str
    pod: str
    container: str
    units: frozenset[Unit]

    @property
    def vnpu(self) -> str | None:
        """The daemon's name of its vNPU; None where it holds nothing that brings it to one."""
        return name_of(self.units)

    @property
    def labels(self) -> dict[str, str]:
        """As its vNPU has them."""
        return {"namespace": self.namespace, "pod": self.pod, "container": self.container}


def carriers(units: Collection[Unit]) -> list[Unit]:
    """The first unit of each kind that brings a container to its vNPU, the one that names the vNPU first."""
    return [min(found) for kind in CARRIERS if (found := of_kind(units, kind))]


def name_of(units: Collection[Unit]) -> str | None:
    first = carriers(units)
    return first[0].key if first else None


class PodResources:
    """The kubelet's list. resources: the kind of each resource that is ours, by its name."""

    def __init__(self, socket: Path, resources: Mapping[str, Kind]) -> None:
        self._socket = socket
        self._resources = resources

    async def holders(self, inventory: Inventory) -> list[Holder]:
        """All containers of this node that hold something of ours. Unavailable where the kubelet does not say."""
        # A connection of its own each time: the kubelet may have started anew, and a lasting one would wait to try.
        async with channel(self._socket) as connection:
            try:
                told = await _list(connection)
            except grpc.aio.AioRpcError as error:
                raise Unavailable(
                    f"the kubelet does not tell who holds what at {self._socket} ({error.details()})",
                    next_step="see that it runs, and that its feature KubeletPodResources is not off",
                ) from error
        return [holder for holder in self._read(told, inventory) if holder.units]

    def _read(self, told: _Told, inventory: Inventory) -> Iterator[Holder]:
        for pod in told.pod_resources:
            for container in pod.containers:
                held = (devices for devices in container.devices if devices.resource_name in self._resources)
                units = frozenset(unit for devices in held for unit in inventory.known(devices.device_ids))
                yield Holder(pod.namespace, pod.name, container.name, units)


_Told = v1.ListPodResourcesResponse | v1alpha1.ListPodResourcesResponse


async def _list(connection: grpc.aio.Channel) -> _Told:
    try:
        asked = v1.ListPodResourcesRequest()
        answer: _Told = await call(
            connection, "v1.PodResourcesLister/List", asked, v1.ListPodResourcesResponse, WITHIN_S
        )
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        older = v1alpha1.ListPodResourcesRequest()
        answer = await call(
            connection, "v1alpha1.PodResourcesLister/List", older, v1alpha1.ListPodResourcesResponse, WITHIN_S
        )
    return answer
