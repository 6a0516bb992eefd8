# SPDX-License-Identifier: Apache-2.0
"""What the node has and who was given what, as the resources' servers share it, and the news of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import replace

from device_plugin.allocations import Allocations
from device_plugin.claims import claim, of_kind
from device_plugin.config import Config
from device_plugin.offer import Amount, Registered, healthy, left
from device_plugin.units import Inventory, Kind, Unit
from flexnpu.errors import OverQuota
from flexnpu.units import format_size

REMEMBERED_S = 60.0  # that a device did not have room for the rest of a container


class Stock:
    """From the daemon's last word. away: since when it has not answered; clock: seconds."""

    def __init__(
        self,
        config: Config,
        inventory: Inventory,
        allocations: Allocations,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inventory = inventory
        self.allocations = allocations
        self._unhealthy_after = config.unhealthy_after
        self._clock = clock
        self._registered: Mapping[int, Registered] = {}
        self._away: float | None = None
        self._refused: dict[tuple[Kind, int, int], float] = {}
        self._news: set[asyncio.Event] = set()

    # The daemon's word

    def heard(self, registered: Mapping[int, Registered], stuck: Mapping[int, str]) -> None:
        """stuck: what is wrong with a device's arbiter."""
        self._registered = {
            index: replace(there, trouble=there.trouble or stuck.get(index)) for index, there in registered.items()
        }
        self._away = None
        self.wake()

    def unheard(self) -> None:
        """The daemon does not answer."""
        self._away = self._clock() if self._away is None else self._away
        self.wake()

    @property
    def is_up(self) -> bool:
        """Whether the daemon has answered lately."""
        return self._away is None or self._clock() - self._away <= self._unhealthy_after

    def trouble(self, device: int) -> str | None:
        """Why nobody can use it."""
        if not self.is_up:
            return f"device {device} cannot be used: flexnpud does not answer"
        there = self._registered.get(device)
        return there.trouble if there else None

    # What the kubelet is told

    def units(self, kind: Kind) -> dict[Unit, bool]:
        """All of them, and whether they are healthy. Before the daemon has said anything, what the plugin before this
        one knew is taken to be so: running pods must be admitted again after a restart of everything."""
        if not self.is_up:
            return dict.fromkeys(self.inventory.units(kind), False)
        return healthy(kind, self._groups(), self._registered or self._as_allocated(), self.inventory)

    async def lists(self, kind: Kind, over: asyncio.Event) -> AsyncIterator[dict[Unit, bool]]:
        """units(), then again after each change; until `over`, which is seen at the next wake()."""
        news, told = asyncio.Event(), None
        self._news.add(news)
        try:
            while not over.is_set():
                news.clear()
                if (units := self.units(kind)) != told:
                    told = units
                    yield units
                await news.wait()
        finally:
            self._news.discard(news)

    def wake(self) -> None:
        """Something may have changed."""
        for news in self._news:
            news.set()

    # What is free

    def left(self) -> dict[int, Amount]:
        """By device."""
        return left(self._groups(), self._registered or self._as_allocated(), self.inventory)

    def with_room(self, kind: Kind, size: int) -> set[int]:
        """Devices that have the rest of what a container wants who asks for so many of that kind, for all we know."""
        sizes, remain = self.inventory.sizes, self.left()
        return {
            index
            for index, device in self.inventory.devices.items()
            if not self._was_refused(kind, size, index)
            and (kind is not Kind.CORES or self._has_its_part(remain[index], size * sizes.cores / device.cores, index))
            and (kind is not Kind.MEMORY or remain[index].cores >= sizes.cores)
        }

    def check_room(self, units: Collection[Unit], added: Kind) -> None:
        """OverQuota where a container's cores and memory, those of the kind `added` last, are of different devices, and
        the cores' do not have the memory beside what is given."""
        amounts = [*of_kind(units, Kind.CORES), *of_kind(units, Kind.MEMORY)]
        if len({frozenset(unit.device for unit in of_kind(amounts, kind)) for kind in (Kind.CORES, Kind.MEMORY)}) == 1:
            return
        wanted = claim(amounts, self.inventory)
        groups = [group for group in self._groups() if not group & set(units)]
        remain = left(groups, self._registered or self._as_allocated(), self.inventory)
        for device in wanted.devices:
            free = remain[device]
            if wanted.cores > free.cores or wanted.memory_bytes > free.memory_bytes:
                for kind in Kind:
                    if kind is not added and (size := len(of_kind(units, kind))):
                        self._refused[kind, size, device] = self._clock()
                raise OverQuota(
                    f"{wanted.cores} cores and {format_size(wanted.memory_bytes)} do not fit device {device}",
                    next_step=f"free are {self.shown(remain)}",
                )

    def shown(self, remain: Mapping[int, Amount] | None = None) -> str:
        """What is free, in words."""
        free = self.left() if remain is None else remain
        return "; ".join(
            f"{amount.cores} cores and {format_size(amount.memory_bytes)} on device {index}"
            for index, amount in sorted(free.items())
        )

    def _has_its_part(self, free: Amount, part: float, index: int) -> bool:
        """As much of the memory as of the cores."""
        return free.memory_bytes >= part * self.inventory.devices[index].memory_bytes

    def _was_refused(self, kind: Kind, size: int, device: int) -> bool:
        at = self._refused.get((kind, size, device))
        return at is not None and self._clock() - at < REMEMBERED_S

    def _groups(self) -> list[set[Unit]]:
        return [group.units for group in self.allocations.groups()]

    def _as_allocated(self) -> dict[int, Registered]:
        nothing = Amount(0, 0)
        return {index: Registered(nothing, nothing) for index in self.inventory.devices}
