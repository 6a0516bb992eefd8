# SPDX-License-Identifier: Apache-2.0
"""One resource, as the kubelet is answered. Nothing here waits for the daemon but the start of a container."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass

from device_plugin import metrics
from device_plugin.cdi import Cdi
from device_plugin.claims import even, of_kind
from device_plugin.config import Config
from device_plugin.container import Edits, Host
from device_plugin.folders import Folders
from device_plugin.placement import Wish, prefer
from device_plugin.stock import Stock
from device_plugin.units import CARRIERS, Kind, Unit
from device_plugin.wire import deviceplugin_pb2 as wire
from flexnpu.errors import FlexNpuError, OverQuota, Refused

HEALTHY, UNHEALTHY = "Healthy", "Unhealthy"


@dataclass(frozen=True, slots=True)
class Giving:
    """What all resources give from."""

    config: Config
    stock: Stock
    host: Host
    folders: Folders
    cdi: Cdi
    given: Callable[[], None]  # something was: the kubelet can soon be asked whose it is
    prepare: Callable[[Collection[Unit]], Awaitable[None]]  # the container's vNPU, before it starts


class Resource:
    """One kind of units; each method raises flexnpu.errors to refuse."""

    def __init__(self, name: str, kind: Kind, giving: Giving) -> None:
        self.name = name
        self._kind = kind
        self._config, self._stock = giving.config, giving.stock
        self._giving = giving

    async def options(self) -> wire.DevicePluginOptions:
        return wire.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True)

    async def watch(self, over: asyncio.Event) -> AsyncIterator[wire.ListAndWatchResponse]:
        """All units, then again after each change, until `over` and wake()."""
        async for units in self._stock.lists(self._kind, over):
            metrics.UNITS.labels(self.name, HEALTHY).set(sum(units.values()))
            metrics.UNITS.labels(self.name, UNHEALTHY).set(len(units) - sum(units.values()))
            yield wire.ListAndWatchResponse(devices=[self._device(unit, ok) for unit, ok in units.items()])

    def wake(self) -> None:
        """Whoever watches looks again."""
        self._stock.wake()

    async def prefer(self, request: wire.PreferredAllocationRequest) -> wire.PreferredAllocationResponse:
        return wire.PreferredAllocationResponse(
            container_responses=[
                wire.ContainerPreferredAllocationResponse(deviceIDs=self._preferred(asked))
                for asked in request.container_requests
            ]
        )

    async def allocate(self, request: wire.AllocateRequest) -> wire.AllocateResponse:
        answers = []
        for asked in request.container_requests:
            try:
                answers.append(self._allocate(self._stock.inventory.parse_all(asked.devicesIDs)))
            except FlexNpuError:
                metrics.ALLOCATIONS.labels(self.name, "refused").inc()
                raise
            metrics.ALLOCATIONS.labels(self.name, "given").inc()
        return wire.AllocateResponse(container_responses=answers)

    async def pre_start(self, request: wire.PreStartContainerRequest) -> wire.PreStartContainerResponse:
        began = time.monotonic()
        await self._giving.prepare(self._stock.inventory.parse_all(request.devicesIDs))
        metrics.STARTS.observe(time.monotonic() - began)
        return wire.PreStartContainerResponse()

    def _device(self, unit: Unit, healthy: bool) -> wire.Device:
        numa = self._stock.inventory.devices[unit.device].numa
        return wire.Device(
            ID=self._stock.inventory.id(unit),
            health=HEALTHY if healthy else UNHEALTHY,
            topology=None if numa is None else wire.TopologyInfo(nodes=[wire.NUMANode(ID=numa)]),
        )

    def _preferred(self, asked: wire.ContainerPreferredAllocationRequest) -> list[str]:
        inventory = self._stock.inventory
        must = inventory.known(asked.must_include_deviceIDs)
        group = self._stock.allocations.open_for(self._kind)
        hint = min((unit.device for unit in group.units), default=None) if group else None
        size = asked.allocation_size
        wish = Wish(
            size,
            must,
            hint,
            fits=None if group else self._stock.with_room(self._kind, size),
            apart=self._kind is Kind.VNPU and self._config.placement == "spread",
        )
        available = inventory.known(asked.available_deviceIDs)
        return [*map(inventory.id, prefer(available, wish, self._config.placement, self._config.rings))]

    def _allocate(self, units: frozenset[Unit]) -> wire.ContainerAllocateResponse:
        if not units:
            raise Refused("nothing is asked for", next_step="ask for at least one")
        for device in {unit.device for unit in units}:
            if trouble := self._stock.trouble(device):
                raise Refused(trouble, next_step=f"free are {self._stock.shown()}")
        if self._kind is not Kind.MEMORY:
            self._check_even(units)
        group = self._stock.allocations.add(units)
        if {Kind.CORES, Kind.MEMORY} <= group.kinds():
            try:
                self._stock.check_room(group.units, self._kind)
            except OverQuota:
                self._stock.allocations.drop(group)
                raise
        self._stock.wake()
        self._giving.given()
        if self._kind not in CARRIERS:
            return wire.ContainerAllocateResponse()
        return self._given(units)

    def _check_even(self, units: Collection[Unit]) -> None:
        try:
            even(units)
        except Refused as error:
            raise OverQuota(
                f"{len(units)} of {self.name} do not fit one device, nor equally on several",
                next_step=f"free are {self._stock.shown()}",
            ) from error

    def _given(self, units: frozenset[Unit]) -> wire.ContainerAllocateResponse:
        first = min(of_kind(units, self._kind))
        devices = [self._stock.inventory.devices[index] for index in sorted({unit.device for unit in units})]
        edits = self._giving.host.edits(devices, self._giving.folders.make(first.key))
        name = self._giving.cdi.write(first.key, edits)
        if name is not None:
            return wire.ContainerAllocateResponse(cdi_devices=[wire.CDIDevice(name=name)])
        return _plain(edits)


def _plain(edits: Edits) -> wire.ContainerAllocateResponse:
    return wire.ContainerAllocateResponse(
        envs=edits.variables,
        mounts=[
            wire.Mount(container_path=mount.container, host_path=str(mount.host), read_only=mount.read_only)
            for mount in edits.mounts
        ],
        devices=[wire.DeviceSpec(container_path=path, host_path=path, permissions="rw") for path in edits.device_files],
    )
