# SPDX-License-Identifier: Apache-2.0
"""Keeps the daemon's vNPUs as the containers hold them: made before a container starts, gone after it is gone.

The kubelet's list (podresources) says who holds what; where a container's vNPU is missing, it is made. A quota that was
changed while the container ran stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from device_plugin.cdi import Cdi
from device_plugin.claims import Claim, claim, of_kind
from device_plugin.daemon import Daemon, NodeState
from device_plugin.folders import Folders
from device_plugin.identity import Holder, PodResources, carriers
from device_plugin.stock import Stock
from device_plugin.units import OWN_PREFIX, Unit
from flexnpu.client import VNpu
from flexnpu.errors import FlexNpuError, OverQuota, Refused, Unavailable, UnknownVNpu

log = logging.getLogger("flexnpu-device-plugin")

READY_WITHIN_S: Final = 15.0  # the kubelet waits for 30
LOOK_AGAIN_S: Final = 0.05
ASKED: Final = "asked"  # the label with what the container asked for


@dataclass(frozen=True, slots=True)
class Wanted:
    """A container's vNPU. folders: those that may be mounted into it. labels: what it asked for, and whose it is where
    that is known."""

    name: str
    claim: Claim
    folders: tuple[Path, ...]
    labels: dict[str, str]


class Keeper:
    """clock: seconds."""

    def __init__(  # noqa: PLR0913 - what it keeps in step with one another
        self,
        *,
        daemon: Daemon,
        pods: PodResources,
        stock: Stock,
        folders: Folders,
        cdi: Cdi,
        forget_after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._daemon = daemon
        self._pods = pods
        self._stock = stock
        self._folders = folders
        self._cdi = cdi
        self._forget_after = forget_after
        self._clock = clock
        self._made: set[str] = set()  # that there have been and that nobody has deleted
        self._unheld: dict[str, float] = {}  # vNPUs, and since when nobody holds them
        self._turn = asyncio.Lock()  # one change at a time

    async def prepare(self, units: Collection[Unit]) -> None:
        """The vNPU of the container that has these of one resource: there, its own, and granted. Raises flexnpu.errors
        where it cannot be; the kubelet tries again."""
        if trouble := next(filter(None, map(self._stock.trouble, {unit.device for unit in units})), None):
            raise Refused(trouble, next_step="bring it back, or delete the pod")
        self._stock.allocations.close(units)
        holders = await self._pods.holders(self._stock.inventory)
        own, holder = self._container_of(units, holders)
        wanted = self._wanted(own, holder)
        await self._alone(wanted.name)
        async with self._turn:
            if self._stock.allocations.is_new(own):
                await self._delete_before(own)
            try:
                vnpu = await self._make(wanted)
            except OverQuota:
                await self._collect(holders)
                vnpu = await self._make(wanted)
            self._made.add(wanted.name)
            self._stock.allocations.started(own)
        await self._granted(vnpu)

    async def sweep(self, state: NodeState) -> None:
        """What nobody holds any more goes; what is missing is made. Unavailable where the kubelet does not say who
        holds what: then all stays."""
        since = self._clock()
        holders = await self._pods.holders(self._stock.inventory)
        self._stock.allocations.settle([holder.units for holder in holders], since, self._forget_after)
        self._stock.wake()
        self._made |= state.vnpus.keys()
        async with self._turn:
            for holder in holders:
                await self._mend(holder, state)
            await self._forget(holders, state)

    # Whose

    def _container_of(self, units: Collection[Unit], holders: Sequence[Holder]) -> tuple[set[Unit], Holder | None]:
        """All units of that container, and who holds them by the kubelet's word."""
        kind = next(iter(units)).kind
        for holder in holders:
            if set(of_kind(holder.units, kind)) == set(units):
                return set(holder.units), holder
        # An init container: the kubelet tells of the one that gets its units later, or of none.
        heir = next((holder for holder in holders if holder.units & set(units)), None)
        group = self._stock.allocations.group_of(units)
        if group is not None:
            return set(group.units), heir
        if heir is not None:
            return set(heir.units), heir
        raise Unavailable(
            "nobody is known to hold " + ", ".join(sorted(map(self._stock.inventory.id, units))),
            next_step="the kubelet tries again; delete the pod where that does not help",
        )

    def _wanted(self, units: set[Unit], holder: Holder | None) -> Wanted:
        asked = claim(units, self._stock.inventory)
        keys = [unit.key for unit in carriers(units)]
        labels = {**(holder.labels if holder else {}), ASKED: f"cores={asked.cores} memory_bytes={asked.memory_bytes}"}
        return Wanted(keys[0], asked, tuple(map(self._folders.make, keys)), labels)

    # The daemon's

    async def _make(self, wanted: Wanted) -> VNpu:
        """As wanted; that of a container before it goes, which no process may be on any more. The daemon's errors."""
        there = await self._find(wanted.name)
        if there is not None and not _is_for(there, wanted):
            await self._delete(there.name)
            there = None
        if there is None:
            for folder in wanted.folders:
                self._folders.clear(folder.parent.name)
            return await self._create(wanted)
        asked = wanted.claim
        if there.labels.get(ASKED) != wanted.labels[ASKED]:
            await self._daemon.ask(
                lambda client: client.set_quota(wanted.name, cores=asked.cores, memory_bytes=asked.memory_bytes)
            )
        if wanted.labels.items() <= there.labels.items():
            return there
        return await self._daemon.ask(lambda client: client.set_labels(wanted.name, wanted.labels))

    async def _create(self, wanted: Wanted) -> VNpu:
        asked = wanted.claim
        return await self._daemon.ask(
            lambda client: client.create_vnpu(
                wanted.name,
                device=asked.devices,
                cores=asked.cores,
                memory_bytes=asked.memory_bytes,
                labels=wanted.labels,
                attach_dirs=wanted.folders,
            )
        )

    async def _find(self, name: str) -> VNpu | None:
        try:
            return await self._daemon.ask(lambda client: client.vnpu(name))
        except UnknownVNpu:
            return None

    async def _delete(self, name: str) -> None:
        await self._daemon.ask(lambda client: client.delete_vnpu(name))

    async def _delete_before(self, units: Collection[Unit]) -> None:
        """vNPUs of containers that had these units before. That of a pod of the same name, as a StatefulSet makes them,
        cannot be told by its labels; its quota may have been changed since it was made."""
        keys = {unit.key for unit in units}
        for name, vnpu in (await self._daemon.look()).vnpus.items():
            if name in keys and vnpu.tenants == 0:
                await self._delete(name)

    async def _alone(self, name: str) -> None:
        """Waits until no process of a container before is on it; Unavailable when there still is one."""
        end = time.monotonic() + READY_WITHIN_S
        while (now := await self._find(name)) is not None and now.tenants:
            if time.monotonic() > end:
                raise Unavailable(
                    f"{now.tenants} processes of the container before this one are still on its vNPU {now.name}",
                    next_step="see flexnpu ps on the node",
                )
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _granted(self, vnpu: VNpu) -> None:
        """Waits until its page says so; Unavailable when it does not."""
        end = time.monotonic() + READY_WITHIN_S
        now: VNpu | None = vnpu
        while now is not None and now.granted_revision < now.revision:
            if time.monotonic() > end:
                raise Unavailable(
                    f"vNPU {vnpu.name} has not got its {vnpu.cores} cores in {READY_WITHIN_S:g} s: "
                    "others on its device have not given them up",
                    next_step="see flexnpu ps on the node",
                )
            await asyncio.sleep(LOOK_AGAIN_S)
            now = await self._find(vnpu.name)

    # In step

    async def _mend(self, holder: Holder, state: NodeState) -> None:
        """Makes what the daemon has lost. Not what has not begun: an init container may have its units now."""
        if holder.vnpu in state.vnpus or holder.vnpu not in self._made:
            return
        try:
            await self._create(self._wanted(set(holder.units), holder))
            log.info("made %s again, of %s/%s", holder.vnpu, holder.namespace, holder.pod)
        except FlexNpuError as error:  # told again when the container starts, to whoever reads its events
            log.debug("%s/%s: %s", holder.namespace, holder.pod, error)

    async def _forget(self, holders: Sequence[Holder], state: NodeState) -> None:
        held = {name for holder in holders for name in _names(holder.units)}
        past, kept = set[str](), set(held)
        for group in self._stock.allocations.groups():
            kept |= _names(group.units)
            past |= _names(group.units) if _is_over(group.units, holders, state) else set()
        past -= held
        now = self._clock()
        there = ({*state.vnpus, *self._folders.keys()} - kept) | (past & state.vnpus.keys())
        self._unheld = {name: self._unheld.get(name, now) for name in there if name.startswith(OWN_PREFIX)}
        for name, since in self._unheld.items():
            vnpu = state.vnpus.get(name)
            if now - since >= self._forget_after and (vnpu is None or vnpu.tenants == 0):
                await self._drop(name, vnpu, come_back=name in past)

    async def _collect(self, holders: Sequence[Holder]) -> None:
        """At once, what nobody holds by the kubelet's word and no process is on: it is in the way of somebody."""
        held = {name for holder in holders for name in _names(holder.units)}
        kept = {name for group in self._stock.allocations.groups() for name in _names(group.units)}
        state = await self._daemon.look()
        for name, vnpu in state.vnpus.items():
            if name not in held and vnpu.tenants == 0:
                await self._drop(name, vnpu, come_back=name in kept)

    async def _drop(self, name: str, vnpu: VNpu | None, *, come_back: bool) -> None:
        """come_back: its container may yet start again, in the folder that it was given."""
        try:
            if vnpu is not None:
                await self._delete(name)
                log.info("nobody holds %s any more", name)
        except FlexNpuError as error:
            log.warning("%s stays: %s", name, error)
            return
        self._made.discard(name)
        if not come_back:
            self._folders.drop(name)
            self._cdi.drop(name)


def _names(units: Collection[Unit]) -> set[str]:
    """Of its vNPU and its folders."""
    return {unit.key for unit in carriers(units)}


def _is_over(units: Collection[Unit], holders: Sequence[Holder], state: NodeState) -> bool:
    """Whether these were an init container's: one that got some of them after it has started."""
    heirs = [holder for holder in holders if not holder.units.isdisjoint(units)]
    return all(heir.units != set(units) for heir in heirs) and any(_has_started(heir, state) for heir in heirs)


def _has_started(holder: Holder, state: NodeState) -> bool:
    vnpu = state.vnpus.get(holder.vnpu or "")
    return vnpu is not None and holder.labels.items() <= vnpu.labels.items()


def _is_for(vnpu: VNpu, wanted: Wanted) -> bool:
    """Whether it is of that container already, or of nobody who is known."""
    same = all(vnpu.labels.get(label, value) == value for label, value in wanted.labels.items() if label != ASKED)
    return (
        same and tuple(vnpu.devices) == wanted.claim.devices and set(map(Path, vnpu.attach_dirs)) == set(wanted.folders)
    )
