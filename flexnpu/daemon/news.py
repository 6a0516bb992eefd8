# SPDX-License-Identifier: Apache-2.0
"""What an arbiter's news of a vNPU mean to others: the registry, which must know what may still be used, and events."""

from __future__ import annotations

import time

from flexnpu import _native
from flexnpu.daemon.events import Events
from flexnpu.daemon.host import Resident
from flexnpu.tenancy import Granted, Registry

LENT_EVERY_S = 10.0  # cores are lent and taken back within milliseconds; events about it are samples


def tell(resident: Resident, registry: Registry, events: Events) -> None:
    """To the registry what has changed since the last time, and events of what users wait for."""
    states = resident.states()
    resident.counters.look(states)
    for host, state in zip(resident.hosts, states, strict=True):
        known = (state.granted_revision, state.applied_revision)
        if state.granted_revision and known != resident.recorded.get(host.device.index):
            registry.record_grant(resident.id, host.device.index, _granted(resident, state), state.applied_revision)
            resident.recorded[host.device.index] = known
    _tell_applied(resident, states, events)
    _tell_lent(resident, states, events)


def _granted(resident: Resident, state: _native.VNpuState) -> Granted:
    # What is lent comes and goes far too often to be recorded; whoever may borrow is taken to have borrowed all.
    quota = resident.quotas.get(state.granted_revision, resident.registered.quota)
    cores = state.granted_cores - state.lent_cores
    return Granted(state.granted_revision, cores, max(cores, quota.most_cores), quota.share)


def _tell_applied(resident: Resident, states: list[_native.VNpuState], events: Events) -> None:
    revision = min(state.applied_revision for state in states)
    for old in [each for each in resident.quotas if each < revision]:
        del resident.quotas[old]
    if revision <= max(resident.told_applied, 1):  # the first one is no change
        return
    resident.told_applied = revision
    after_s = max(state.applied_after_ns for state in states) / 1e9
    if resident.tenants:  # where there is none, every change is in force at once
        resident.counters.applies.observe(after_s)
    text = f"applied revision {revision} on {resident.name} after {after_s * 1e3:.1f} ms"
    events.publish("applied", resident.name, text, revision=revision)


def _tell_lent(resident: Resident, states: list[_native.VNpuState], events: Events) -> None:
    lent = max(state.lent_cores for state in states)
    now = time.monotonic()
    if lent and now - resident.told_lent >= LENT_EVERY_S:
        resident.told_lent = now
        events.publish("lent", resident.name, f"lent {lent} idle cores to {resident.name}")
