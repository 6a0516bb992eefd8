# SPDX-License-Identifier: Apache-2.0
"""flexnpud, asked over its REST API from the plugin's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from device_plugin.offer import NOTHING, Amount, Registered
from device_plugin.units import OWN_PREFIX, Device
from flexnpu.client import Client, VNpu
from flexnpu.errors import FlexNpuError

_Answer = TypeVar("_Answer")
AGAIN_S = 0.5  # until the events of a daemon that went away are asked for again


@dataclass(frozen=True, slots=True)
class NodeState:
    """The daemon's word at one moment. vnpus: those of containers, by name."""

    devices: tuple[Device, ...]
    registered: Mapping[int, Registered]
    vnpus: Mapping[str, VNpu]


class Daemon:
    """connect: a new connection to it. Each method raises flexnpu.errors."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._thread = ThreadPoolExecutor(1, "daemon")  # a client is for one thread at a time
        self._client = connect()
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        await self.ask(lambda client: client.close())
        self._thread.shutdown()

    async def ask(self, question: Callable[[Client], _Answer]) -> _Answer:
        """What the client answers."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, question, self._client)

    async def look(self) -> NodeState:
        return await self.ask(_look)

    def follow(self, on_news: Callable[[], None]) -> None:
        """Calls it in the event loop after each event, and again and again while the daemon is not there."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._follow, args=(loop, on_news), name="events", daemon=True).start()

    def _follow(self, loop: asyncio.AbstractEventLoop, on_news: Callable[[], None]) -> None:
        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(on_news)

        while not self._closed:
            with contextlib.suppress(FlexNpuError), self._connect() as client:
                for _ in client.events():
                    if self._closed:
                        return
                    tell()
            tell()
            time.sleep(AGAIN_S)


def _look(client: Client) -> NodeState:
    told, vnpus = client.devices(), client.vnpus()
    own = {vnpu.name: vnpu for vnpu in vnpus if vnpu.name.startswith(OWN_PREFIX)}
    devices = tuple(
        Device(
            each.index,
            each.uuid,
            each.soc,
            each.kind,
            each.cores,
            each.memory_bytes,
            each.numa_node,
            each.environment,
        )
        for each in told
    )
    registered = {
        each.index: Registered(
            own=_sum([vnpu for vnpu in own.values() if each.index in vnpu.devices]),
            all=Amount(each.cores - each.cores_free, each.memory_bytes - each.memory_free),
            trouble=each.trouble,
        )
        for each in told
    }
    return NodeState(devices, registered, own)


def _sum(vnpus: Sequence[VNpu]) -> Amount:
    total = NOTHING
    for vnpu in vnpus:
        total += Amount(vnpu.cores, vnpu.memory_bytes)
    return total
