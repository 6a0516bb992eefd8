# SPDX-License-Identifier: Apache-2.0
"""The node: registry, arbiters and tenants together. Everything the API and the attach socket ask for ends here.

Runs in the event loop's thread alone; the arbiters' threads speak through their eventfds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, Unpack

from flexnpu import _native
from flexnpu.backend import Device, live_state
from flexnpu.daemon import views
from flexnpu.daemon.counts import ATTACH_DENIALS, QUOTA_DENIAL
from flexnpu.daemon.events import Events
from flexnpu.daemon.host import PHASES, DeviceHost, Resident, granted_quota
from flexnpu.daemon.news import tell
from flexnpu.daemon.processes import Watch, born
from flexnpu.daemon.restart import Survivor, survivors
from flexnpu.daemon.steps import Steps
from flexnpu.daemon.tenants import Tenants
from flexnpu.daemon.waiting import Waiting
from flexnpu.errors import InUse, InvalidValue, NotFound, OverQuota, RegistryError, UnknownDevice
from flexnpu.tenancy import (
    AppliedView,
    DeviceView,
    EventView,
    Move,
    NodeCounts,
    Owner,
    Quota,
    QuotaFields,
    Registry,
    StepView,
    TenantView,
    VNpu,
    VNpuCounts,
    VNpuView,
)
from flexnpu.units import format_size

log = logging.getLogger("flexnpud")

TRY_AGAIN_S = 1.0


class Doors(Protocol):
    """The attach sockets that a vNPU has for itself."""

    def open(self, resident: Resident) -> None:
        """In each of its attach_dirs; InvalidValue where one cannot be used, and then in none."""

    def close(self, resident: Resident) -> None: ...


class _NoDoors:
    def open(self, resident: Resident) -> None: ...

    def close(self, resident: Resident) -> None: ...


class Node:
    """All devices of this daemon."""

    def __init__(self, devices: Sequence[Device], registry: Registry, *, by_phase: bool = False) -> None:
        self._registry = registry
        self.hails = _native.HailPage()
        self._hosts = {
            device.index: DeviceHost(device, self._on_news, hails=self.hails, by_phase=by_phase) for device in devices
        }
        self._residents: dict[str, Resident] = {}
        self._unrecorded: dict[int, Resident] = {}  # by id; the registry could not be told of their grants
        self._waiting = Waiting()
        self.log = Events()
        self._steps = Steps()
        self._doors: Doors = _NoDoors()
        self._denials = Counter(dict.fromkeys((QUOTA_DENIAL, *ATTACH_DENIALS.values()), 0))
        self.attached = Tenants(registry, self.log, self._waiting, self._bury)

    def close(self) -> None:
        """Let go of everything; tenants keep their last quota."""
        self.log.close()
        self._steps.close()
        self.attached.close()
        for resident in self._residents.values():
            self._doors.close(resident)
            resident.stop_settling()
            if resident.owner is not None:
                resident.owner.close()
        for host in self._hosts.values():
            host.close()
        self._residents.clear()
        self._hosts.clear()
        self.hails.close_fd()

    def use(self, doors: Doors) -> None:
        """From now on; those of vNPUs that are there already are opened."""
        self._doors = doors
        for resident in self._residents.values():
            try:
                doors.open(resident)
            except InvalidValue as error:
                log.warning("nobody can attach to %s: %s", resident.name, error)

    # What the API asks for

    def check_ready(self) -> None:
        """RegistryError when nothing could be changed."""
        self._registry.check()

    def devices(self) -> list[DeviceView]:
        return [*map(_view, self._hosts.values())]

    def device(self, index: int) -> DeviceView:
        if index not in self._hosts:
            raise UnknownDevice.among(index, self._hosts)
        return _view(self._hosts[index])

    def vnpus(self, after: int = 0, most: int | None = None) -> list[VNpuView]:
        """In the order of their ids, which they were made in; at most so many, of those with an id above `after`."""
        later = (resident for resident in self._residents.values() if resident.id > after)
        return [views.vnpu(resident) for resident in itertools.islice(later, most)]

    def vnpu(self, name: str) -> VNpuView:
        return views.vnpu(self.resident(name))

    def tenants(self, vnpu: str | None = None) -> list[TenantView]:
        """Of that vNPU, which need not be there, or of all."""
        residents = self._residents.values() if vnpu is None else filter(None, [self._residents.get(vnpu)])
        tenants = [tenant for resident in residents for tenant in resident.tenants.values()]
        for tenant in tenants:
            self.attached.look_for_denials(tenant)
        return [views.tenant(tenant) for tenant in tenants]

    def counts(self) -> NodeCounts:
        held = self._cores_by_pid()
        return NodeCounts(
            denials=dict(self._denials),
            granted_cores={index: host.arbiter.held_cores for index, host in self._hosts.items()},
            used_cores={index: None if each is None else sum(each.values()) for index, each in held.items()},
        )

    def counted(self) -> Iterator[tuple[VNpuView, VNpuCounts]]:
        """Each vNPU when its turn comes, but for those that are deleted by then."""
        held = self._cores_by_pid()
        for resident in [*self._residents.values()]:
            if not resident.deleted:
                on = [held[device] for device in resident.registered.devices]
                yield views.vnpu(resident), views.counts(resident, on)

    def count_denial(self, reason: str, name: str = "") -> None:
        """name: of the vNPU that was asked for, whether or not there is one."""
        resident = self._residents.get(name)
        (self._denials if resident is None else resident.counters.denials)[reason] += 1

    def id_of(self, name: str) -> int:
        return self.resident(name).id

    def name_of(self, id_: int) -> str:
        """NotFound when there is no vNPU of that id any more."""
        for resident in self._residents.values():
            if resident.id == id_:
                return resident.name
        raise NotFound(f"vNPU number {id_} is not there any more", next_step="see flexnpu ps")

    def publish(self, kind: str, text: str) -> None:
        """An event of no vNPU."""
        self.log.publish(kind, "", text)

    def events(self, after: int | None, idle_s: float) -> AsyncIterator[list[EventView]]:
        return self.log.follow(after, idle_s)

    def steps(self, names: Sequence[str], idle_s: float) -> AsyncIterator[list[StepView]]:
        """Of the tenants of these vNPUs."""
        return self._steps.follow([self.resident(name) for name in names], idle_s)

    def create(self, wanted: VNpu, owner_pid: int | None) -> VNpuView:
        """`wanted` without id and owner."""
        owner = None if owner_pid is None else _owner(owner_pid)
        with self._counts_denials():
            registered = self._registry.create(replace(wanted, owner=owner))
        try:
            resident = self._settle_in(registered)
            self._open_doors(resident)
        except BaseException:
            self._registry.delete(registered.name)
            raise
        self._record(resident)
        self._watch_owner(resident)
        quota, places = registered.quota, ", ".join(map(str, registered.devices))
        memory = format_size(quota.memory_bytes)
        text = f"created {registered.name}: {quota.cores} cores, {memory} on device {places}"
        self.log.publish("created", registered.name, text, revision=quota.revision)
        return views.vnpu(resident)

    def delete(self, name: str, *, if_revision: int | None = None, force: bool = False) -> None:
        resident = self.resident(name)
        live = [tenant.pid for tenant in resident.tenants.values()]
        if live and not force:
            raise InUse(
                f"vNPU {name} has a live tenant (pid {', '.join(map(str, live))})",
                next_step="stop it first, or delete with --force, which kills it",
            )
        self._forget(resident, if_revision)
        for tenant in resident.tenants.values():
            if tenant.watch is not None:
                with contextlib.suppress(OSError):  # dead by now, or not ours to kill: then it holds its cores on
                    signal.pidfd_send_signal(tenant.watch.pidfd, signal.SIGKILL)

    def set_quota(self, name: str, *, if_revision: int | None, **fields: Unpack[QuotaFields]) -> Mapping[str, int]:
        resident = self.resident(name)
        if "memory_bytes" in fields:
            _check_memory_in_use(resident, fields["memory_bytes"])
        with self._counts_denials(name):
            changed = self._registry.set_quota(name, if_revision=if_revision, **fields)
        return self._change([changed])

    def set_phase(self, name: str, phase: str | None, *, if_revision: int | None) -> Mapping[str, int]:
        resident = self.resident(name)
        revisions = self._change([self._registry.set_phase(name, phase, if_revision=if_revision)])
        resident.page.set_phase(PHASES.index(phase or "idle"))
        return revisions

    def set_labels(self, name: str, labels: Mapping[str, str], *, if_revision: int | None) -> None:
        """In place of those that it has."""
        resident = self.resident(name)
        resident.registered = self._registry.set_labels(name, labels, if_revision=if_revision)
        told = ", ".join(f"{label}={value}" for label, value in sorted(labels.items())) or "none"
        self.log.publish("changed", name, f"labels of {name}: {told}", revision=resident.registered.quota.revision)

    def rebalance(self, moves: Sequence[Move], *, dry_run: bool = False) -> Mapping[str, int]:
        """The revisions that it brings. dry_run: would bring."""
        with self._counts_denials():
            after = self._registry.rebalance(moves, dry_run=dry_run)
        return {vnpu.name: vnpu.quota.revision for vnpu in after} if dry_run else self._change(after)

    async def applied(self, revisions: Mapping[str, int], within_s: float) -> AppliedView:
        """Wait until all of these revisions (or later ones) are applied, for at most so long."""
        residents = [(self.resident(name), revision) for name, revision in revisions.items()]

        def done() -> bool:
            return all(resident.deleted or resident.is_applied(revision) for resident, revision in residents)

        applied = await self._waiting.until(done, within_s)
        observed = {each.name: 0 if each.deleted else each.applied_revision() for each, _ in residents}
        if not applied or any(resident.deleted for resident, _ in residents):
            return AppliedView(revisions, observed, applied=False, applied_after_s=None)
        states = [state for resident, _ in residents for state in resident.states()]
        after_s = max((state.applied_after_ns for state in states), default=0) / 1e9
        return AppliedView(revisions, observed, applied=True, applied_after_s=after_s)

    # What the attach socket asks for

    def knows(self, name: str) -> bool:
        return name in self._residents

    def resident(self, name: str) -> Resident:
        """UnknownVNpu when there is none."""
        if name not in self._residents:
            self._registry.get(name)  # raises
        return self._residents[name]

    # A restart

    def restore(self) -> bool:
        """Take up what an earlier daemon registered; whether processes of its time are still on it."""
        found = survivors(self._registry, [host.device for host in self._hosts.values()])
        # First what was granted, so that every arbiter knows all that is held; then what is wanted beyond it.
        for survivor in found:
            self._take_up(survivor)
        for survivor in found:
            self._change([survivor.registered])
            self._watch_owner(self._residents[survivor.registered.name])
        return any(survivor.leases for survivor in found)

    def _take_up(self, survivor: Survivor) -> None:
        vnpu = survivor.registered
        resident = Resident.of(vnpu, self._hosts)
        self._residents[vnpu.name] = resident
        ids = []
        for ordinal, host in enumerate(resident.hosts):
            host.residents[resident.id] = resident
            quota, older = survivor.held_on(host.device.index)
            absent = len(survivor.leases)
            wanted = granted_quota(quota, vnpu.phase)
            add = host.arbiter.restore
            ids.append(add(vnpu.id, resident.page, ordinal, wanted, older, absent, resident.gang))
        for lease, *own in zip(survivor.leases, *ids, strict=True):
            self.attached.expect(resident, lease, own)

    # Inside

    def _cores_by_pid(self) -> dict[int, Mapping[int, int] | None]:
        """That tasks hold now, by device."""
        return {index: live_state(host.device).cores_by_pid for index, host in self._hosts.items()}

    @contextlib.contextmanager
    def _counts_denials(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except OverQuota:
            self.count_denial(QUOTA_DENIAL, name)
            raise

    def _settle_in(self, registered: VNpu) -> Resident:
        """The vNPU on its devices; all of them or none."""
        resident = Resident.of(registered, self._hosts)
        with contextlib.ExitStack() as undo:
            for ordinal, host in enumerate(resident.hosts):
                wanted = granted_quota(registered.quota, registered.phase)
                host.arbiter.add(resident.id, resident.page, ordinal, wanted, resident.gang)
                undo.callback(host.arbiter.remove, resident.id)
            undo.pop_all()
        for host in resident.hosts:
            host.residents[resident.id] = resident
        self._residents[registered.name] = resident
        return resident

    def _open_doors(self, resident: Resident) -> None:
        try:
            self._doors.open(resident)
        except BaseException:
            self._leave(resident)
            raise

    def _leave(self, resident: Resident) -> None:
        """Its devices are without it."""
        del self._residents[resident.name]
        self._unrecorded.pop(resident.id, None)
        for host in resident.hosts:
            host.residents.pop(resident.id, None)
            host.arbiter.remove(resident.id)

    def _change(self, after: Sequence[VNpu]) -> Mapping[str, int]:
        changes: dict[int, list[tuple[int, _native.Quota]]] = {}
        for vnpu in after:
            resident = self._residents[vnpu.name]
            self._tell_change(resident.registered.quota, vnpu)
            resident.registered = vnpu
            resident.quotas[vnpu.quota.revision] = vnpu.quota
            for host, state in zip(resident.hosts, resident.states(), strict=True):
                if state.desired_revision != vnpu.quota.revision:
                    changes.setdefault(host.device.index, []).append((vnpu.id, granted_quota(vnpu.quota, vnpu.phase)))
        for device, wanted in changes.items():
            self._hosts[device].arbiter.change(wanted)
        for vnpu in after:
            self._record(self._residents[vnpu.name])
        return {vnpu.name: vnpu.quota.revision for vnpu in after}

    def _tell_change(self, before: Quota, after: VNpu) -> None:
        quota = after.quota
        if quota.revision != before.revision:
            text = f"changed {after.name} to revision {quota.revision}: {quota.cores} cores"
            self.log.publish("changed", after.name, text, revision=quota.revision)

    def _on_news(self, residents: Sequence[Resident]) -> None:
        self._steps.heard()
        for resident in (*residents, *self._unrecorded.values()):
            self._record(resident)
        self._waiting.look()

    def _record(self, resident: Resident) -> None:
        self._unrecorded.pop(resident.id, None)
        try:
            tell(resident, self._registry, self.log)
        except RegistryError as error:  # until it is tried again at the next news, what was recorded is still held
            log.warning("%s", error)
            self._unrecorded[resident.id] = resident

    def _watch_owner(self, resident: Resident) -> None:
        owner = resident.registered.owner
        if owner is None:
            return

        def died() -> None:
            resident.owner_dead = True
            self._bury(resident)

        resident.owner = Watch.of(owner.pid, owner.born, died)
        if resident.owner is None:
            died()

    def _bury(self, resident: Resident) -> None:
        # Children of the owner may still be at work on the vNPU; it goes with the last of them.
        if not resident.owner_dead or resident.tenants or resident.deleted:
            return
        try:
            self._forget(resident)
        except RegistryError as error:
            log.warning("%s", error)
            asyncio.get_running_loop().call_later(TRY_AGAIN_S, self._bury, resident)

    def _forget(self, resident: Resident, if_revision: int | None = None) -> None:
        self._registry.delete(resident.name, if_revision=if_revision)
        resident.deleted = True
        self._doors.close(resident)
        self._leave(resident)
        resident.stop_settling()
        if resident.owner is not None:
            resident.owner.close()
        self.log.publish("deleted", resident.name, f"deleted {resident.name}")
        self._steps.heard()
        self._waiting.look()


def _view(host: DeviceHost) -> DeviceView:
    return views.device(host.device, [resident.registered for resident in host.residents.values()])


def _owner(pid: int) -> Owner:
    birth = born(pid)
    if birth is None:
        raise InvalidValue(f"owner_pid {pid} is not a live process", next_step="give the pid of a running process")
    return Owner(pid, birth)


def _check_memory_in_use(resident: Resident, memory_bytes: int) -> None:
    used = max(resident.ledger.used(ordinal) for ordinal in range(len(resident.hosts)))
    if used > memory_bytes:
        raise InUse(
            f"memory of {resident.name} cannot become {format_size(memory_bytes)}: its programs use "
            f"{format_size(used)}",
            next_step="ask for at least that, or let them free some first",
            limit=memory_bytes,
            used=used,
            requested=memory_bytes,
        )
