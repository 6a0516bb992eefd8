# SPDX-License-Identifier: Apache-2.0
"""The plugin's life: know the node, serve its resources, keep step with daemon and kubelet, until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from device_plugin import metrics
from device_plugin.allocations import Allocations
from device_plugin.arbiters import Arbiters
from device_plugin.cdi import Cdi
from device_plugin.config import Config
from device_plugin.container import DRIVER, Host
from device_plugin.daemon import Daemon
from device_plugin.endpoint import Endpoint
from device_plugin.folders import Folders, install
from device_plugin.identity import PodResources
from device_plugin.keeper import Keeper
from device_plugin.resource import Giving, Resource
from device_plugin.stock import Stock
from device_plugin.units import Device, Inventory, Kind, Sizes
from device_plugin.watch import Identity, changes, identity
from flexnpu.errors import DaemonError, FlexNpuError, Unavailable
from flexnpu.files import write_whole

log = logging.getLogger("flexnpu-device-plugin")

SWEEP_S: Final = 5.0
SETTLE_S: Final = 0.05  # events that come together are one reason to look
AGAIN_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # after a failed registration


def names(config: Config) -> dict[str, Kind]:
    """The resources that are offered."""
    offered = config.resources
    parts = (
        (offered.vnpu, Kind.VNPU),
        (offered.cores, Kind.CORES),
        (offered.memory, Kind.MEMORY),
        (offered.device, Kind.DEVICE),
    )
    return {part.name: kind for part, kind in parts if part is not None}


def sizes(config: Config) -> Sizes:
    offered = config.resources
    vnpu = offered.vnpu
    return Sizes(
        slots=vnpu.slots if vnpu else 1,
        cores=offered.cores.granularity if offered.cores else 1,
        memory_bytes=offered.memory.granularity if offered.memory else 2**30,
        slot_cores=vnpu.cores if vnpu else None,
        slot_memory=vnpu.memory if vnpu else None,
    )


class Plugin:
    """With one configuration and the devices of one daemon; run() returns when either is to be another.

    stop: ends it. daemon: its own, which it closes.
    """

    def __init__(self, config: Config, stop: asyncio.Event, daemon: Daemon) -> None:
        self._config = config
        self._stop = stop
        self._daemon = daemon
        self._folders = Folders(config.pods_dir)
        self._looks = asyncio.Event()

    async def run(self) -> None:
        """Until `stop`, or until the daemon has other devices than it had."""
        try:
            devices = await self._devices()
            if devices is not None:
                await self._serve(devices)
        finally:
            await self._daemon.close()

    async def _devices(self) -> Sequence[Device] | None:
        """Of the daemon, or while it does not answer those that it had; None when it is to stop."""
        told = False
        while not self._stop.is_set():
            try:
                devices = (await self._daemon.look()).devices
            except DaemonError as error:
                if known := _read(self._folders):
                    return known
                if not told:
                    log.info("waiting for flexnpud: %s", error)
                told = True
                await _sleep(self._stop, 1.0)
            else:
                _write(self._folders, devices)
                return devices
        return None

    async def _serve(self, devices: Sequence[Device]) -> None:
        config, inventory = self._config, Inventory(devices, sizes(self._config))
        stock = Stock(config, inventory, Allocations(self._folders.allocations, inventory))
        cdi = Cdi.find(config.cdi)
        pods = PodResources(config.pod_resources_socket, names(config))
        keeper = Keeper(
            daemon=self._daemon,
            pods=pods,
            stock=stock,
            folders=self._folders,
            cdi=cdi,
            forget_after=config.forget_after,
        )
        host = Host(
            libraries=install(config.lib_dir),
            preload_file=self._folders.preload,
            preload=config.preload,
            driver=DRIVER if config.driver is None else config.driver,
            has=lambda path: (config.host_root / path.relative_to("/")).exists(),
        )
        giving = Giving(config, stock, host, self._folders, cdi, self._looks.set, keeper.prepare)
        served = [Endpoint(Resource(name, kind, giving), config.plugins_dir) for name, kind in names(config).items()]
        metrics.UNITS.clear()
        self._daemon.follow(self._looks.set)
        arbiters = Arbiters()
        # Before the kubelet is told anything, what it gave must be known.
        await self._step(devices, stock, keeper, arbiters)
        tasks = [
            asyncio.create_task(self._keep_step(devices, stock, keeper, arbiters)),
            asyncio.create_task(self._keep_registered(served)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(endpoint.stop() for endpoint in served))
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _keep_step(self, devices: Sequence[Device], stock: Stock, keeper: Keeper, arbiters: Arbiters) -> None:
        """After each event and now and then, until the daemon has other devices."""
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._looks.wait(), SWEEP_S)
            await asyncio.sleep(SETTLE_S)
            if not await self._step(devices, stock, keeper, arbiters):
                log.info("the node has other devices now")
                return

    async def _step(self, devices: Sequence[Device], stock: Stock, keeper: Keeper, arbiters: Arbiters) -> bool:
        """The daemon's word and the kubelet's; whether the devices are these."""
        self._looks.clear()
        try:
            state = await self._daemon.look()
        except DaemonError as error:
            metrics.DAEMON_UP.set(0)
            log.debug("%s", error)
            stock.unheard()
            return True
        metrics.DAEMON_UP.set(1)
        if state.devices != tuple(devices):
            return False
        stock.heard(state.registered, arbiters.stuck(state.vnpus))
        try:
            await keeper.sweep(state)
        except Unavailable as error:
            log.debug("%s", error)
        except FlexNpuError as error:
            log.warning("%s", error)
        return True

    async def _keep_registered(self, served: Sequence[Endpoint]) -> None:
        """Whenever the kubelet is another, or one of our sockets is gone."""
        kubelet: Identity | None = None
        async for _ in changes(self._config.plugins_dir, self._stop):
            now = identity(self._config.kubelet_socket)
            if now is None or (now == kubelet and all(endpoint.is_there() for endpoint in served)):
                continue
            kubelet = now if await self._register(served) else None

    async def _register(self, served: Sequence[Endpoint]) -> bool:
        """All of them, once each is served; whether the kubelet took them."""
        for again in AGAIN_S:
            try:
                for endpoint in served:
                    await endpoint.start()
                for endpoint in served:
                    await endpoint.register()
            except Unavailable as error:
                log.warning("%s", error)
                await _sleep(self._stop, again)
                if self._stop.is_set():
                    return False
            else:
                return True
        return False


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _read(folders: Folders) -> list[Device]:
    """What the daemon had when it last answered; none where nobody knows."""
    try:
        return [Device(**fields) for fields in json.loads(folders.inventory.read_text())["devices"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _write(folders: Folders, devices: Sequence[Device]) -> None:
    fields = [asdict(device) for device in devices]
    write_whole(folders.inventory, json.dumps({"version": 1, "devices": fields}))
