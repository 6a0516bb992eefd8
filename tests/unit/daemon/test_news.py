# SPDX-License-Identifier: Apache-2.0
"""What the registry is told of grants, what users are told of them, and what a restarted daemon makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

from flexnpu.daemon.counts import Counters
from flexnpu.daemon.events import Events
from flexnpu.daemon.news import tell
from flexnpu.daemon.restart import Survivor
from flexnpu.tenancy import Granted, Lease, Quota, VNpu

GIB = 2**30
QUOTA = Quota(8, GIB, burst_cores=12)
VNPU = VNpu(7, "a", (0, 1), QUOTA)


@dataclass
class State:
    """Of one device, as the arbiter tells it."""

    granted_revision: int = 1
    applied_revision: int = 1
    granted_cores: int = 8
    lent_cores: int = 0
    applied_after_ns: int = 1_500_000
    used_ns: int = 0
    share: int = 0


@dataclass
class FakeResident:
    """On devices 0 and 1."""

    now: list[State]
    registered: VNpu = VNPU
    quotas: dict = field(default_factory=lambda: {1: QUOTA})
    recorded: dict = field(default_factory=dict)
    told_applied: int = 0
    told_lent: float = -1e9
    counters: Counters = field(default_factory=lambda: Counters(2))
    tenants: dict = field(default_factory=dict)
    id: int = 7
    name: str = "a"
    hosts = tuple(SimpleNamespace(device=SimpleNamespace(index=index)) for index in (0, 1))

    def states(self) -> list[State]:
        return self.now

    def wants(self, quota: Quota) -> None:
        self.registered = replace(self.registered, quota=quota)
        self.quotas[quota.revision] = quota


@dataclass
class FakeRegistry:
    written: list = field(default_factory=list)

    def record_grant(self, vnpu: int, device: int, grant: Granted, applied_revision: int) -> None:
        self.written.append((device, grant, applied_revision))


def kinds(events: Events) -> list[str]:
    return [event.kind for event in events.since(None)]


def test_a_grant_is_recorded_once_for_each_device_with_what_may_be_lent():
    resident, registry = FakeResident([State(), State()]), FakeRegistry()
    for _ in range(3):
        tell(resident, registry, Events())
    assert registry.written == [(0, Granted(1, 8, 12), 1), (1, Granted(1, 8, 12), 1)]


def test_lending_is_told_as_a_sample_and_not_recorded():
    resident, registry, events = FakeResident([State(), State()]), FakeRegistry(), Events()
    tell(resident, registry, events)
    for lent in (4, 0, 3, 0):
        resident.now[1] = State(granted_cores=8 + lent, lent_cores=lent)
        tell(resident, registry, events)
    assert len(registry.written) == 2
    assert [event.text for event in events.since(None)] == ["lent 4 idle cores to a"]


def test_a_grant_that_arrives_while_cores_are_lent_is_recorded_without_them():
    resident, registry = FakeResident([State(granted_cores=11, lent_cores=3)] * 2), FakeRegistry()
    tell(resident, registry, Events())
    assert registry.written[0] == (0, Granted(1, 8, 12), 1)


def test_a_change_is_told_once_when_it_is_applied_on_all_devices():
    resident, events = FakeResident([State(), State()]), Events()
    tell(resident, FakeRegistry(), events)
    resident.wants(Quota(6, GIB, 2))
    for states in ([State(2, 2, 6), State(2, 1, 6)], [State(2, 2, 6), State(2, 2, 6)], [State(2, 2, 6)] * 2):
        resident.now = states
        tell(resident, FakeRegistry(), events)
    assert [event.text for event in events.since(None)] == ["applied revision 2 on a after 1.5 ms"]
    assert set(resident.quotas) == {2}
    assert resident.counters.applies.buckets().total == 0, "there was nobody who had to apply it"


def test_how_long_a_change_took_is_counted_once():
    resident = FakeResident([State(), State()], tenants={0: object()})
    tell(resident, FakeRegistry(), Events())
    resident.wants(Quota(6, GIB, 2))
    for states in ([State(2, 2, 6, applied_after_ns=7_000_000), State(2, 2, 6)],) * 2:
        resident.now = states
        tell(resident, FakeRegistry(), Events())
    told = resident.counters.applies.buckets()
    assert (told.total, told.sum) == (1, 0.007)


def test_a_grant_is_recorded_by_the_quota_of_its_own_revision():
    resident, registry = FakeResident([State(), State()]), FakeRegistry()
    resident.wants(Quota(6, GIB, 2))  # wanted, but what is granted is still the first
    tell(resident, registry, Events())
    assert registry.written[0] == (0, Granted(1, 8, 12), 1)


def test_after_a_restart_whatever_a_living_process_may_have_borrowed_is_held():
    grants = {0: [Granted(3, 10, 14), Granted(4, 8, 12)]}
    survivor = Survivor(VNpu(7, "a", (0,), QUOTA), (Lease(7, 0, 42, "boot:7"),), grants)
    assert survivor.held_on(0) == (Quota(8, GIB, 4, burst_cores=12), [(3, 14, False), (3, 12, False)])
    nobody = replace(survivor, leases=())
    assert nobody.held_on(0)[1] == [(3, 14, False)]


def test_after_a_restart_a_shrink_that_was_never_granted_frees_nothing_yet():
    registered = VNpu(7, "a", (0,), Quota(6, GIB, 2))
    survivor = Survivor(registered, (Lease(7, 0, 42, "boot:7"),), {0: [Granted(1, 18, 18)]})
    assert survivor.held_on(0) == (Quota(18, GIB, 1, burst_cores=18), [])


def test_after_a_restart_a_vnpu_that_was_to_share_in_time_still_has_cores_of_its_own_and_the_other_way_round():
    leases = (Lease(7, 0, 42, "boot:7"),)
    sharing = VNpu(7, "a", (0,), Quota(24, GIB, 2, share=4000, fixed_share=True))
    assert Survivor(sharing, leases, {0: [Granted(1, 18, 18)]}).held_on(0)[0] == Quota(18, GIB, 1, burst_cores=24)
    parted = VNpu(7, "a", (0,), Quota(18, GIB, 3))
    grants = {0: [Granted(1, 6, 6), Granted(2, 24, 24, 4000)]}
    held = (Quota(24, GIB, 2, burst_cores=24, share=4000), [(1, 6, False)])
    assert Survivor(parted, leases, grants).held_on(0) == held


def test_a_grant_is_recorded_with_the_share_of_its_own_revision():
    resident, registry = FakeResident([State(), State()]), FakeRegistry()
    resident.wants(Quota(6, GIB, 2, share=4000))
    tell(resident, registry, Events())
    assert registry.written[0] == (0, Granted(1, 8, 12), 1)
