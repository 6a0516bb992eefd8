# SPDX-License-Identifier: Apache-2.0
"""Pure parts: units and ids, what a container's units come to, where they are best taken, what is left to offer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_plugin.claims import Claim, claim
from device_plugin.offer import NOTHING, Amount, Registered, healthy, left
from device_plugin.placement import Wish, prefer
from device_plugin.units import Device, Inventory, Kind, Sizes, Unit
from flexnpu.errors import InvalidValue, Refused

GIB = 2**30
SIZES = Sizes(slots=8, cores=1, memory_bytes=GIB)


def device(index: int) -> Device:
    return Device(index, f"{index:08x}-0000-5000-8000-000000000000", "Ascend910B2", "software", 24, 64 * GIB, None, {})


INVENTORY = Inventory([device(index) for index in range(4)], SIZES)


def units(kind: Kind, on: dict[int, int], first: int = 0) -> frozenset[Unit]:
    """So many on each device."""
    return frozenset(Unit(at, kind, first + n) for at, count in on.items() for n in range(count))


@given(st.sampled_from([*Kind]), st.integers(0, 10_000))
def test_ids_lead_back_to_their_units(kind, number):
    every = [*INVENTORY.units(kind)]
    unit = every[number % len(every)]
    assert INVENTORY.parse(INVENTORY.id(unit)) == unit


@pytest.mark.parametrize("id_", ["", "x", f"{device(0).uuid}-c24", f"{device(0).uuid}-d1", f"{device(9).uuid}-c0"])
def test_what_the_node_does_not_have_is_refused(id_):
    with pytest.raises(InvalidValue, match="is nothing that this node has; delete the pod"):
        INVENTORY.parse(id_)


def test_slots_that_do_not_fit_are_told():
    with pytest.raises(InvalidValue, match="48 slots do not fit device 0, which has 24 cores; give fewer"):
        Inventory([device(0)], Sizes(slots=48, cores=1, memory_bytes=GIB))


V, C, M, D = Kind.VNPU, Kind.CORES, Kind.MEMORY, Kind.DEVICE


@pytest.mark.parametrize(
    ("held", "comes_to"),
    [
        (units(C, {1: 6}) | units(M, {1: 16}), Claim((1,), 6, 16 * GIB)),
        (units(C, {1: 6}) | units(M, {2: 16}), Claim((1,), 6, 16 * GIB)),  # memory is an amount
        (units(V, {0: 1}), Claim((0,), 3, 8 * GIB)),
        (units(V, {0: 2}), Claim((0,), 6, 16 * GIB)),
        (units(V, {0: 1, 2: 1}), Claim((0, 2), 3, 8 * GIB)),  # on each
        (units(V, {0: 1, 2: 1}) | units(C, {0: 12}) | units(M, {3: 32}), Claim((0, 2), 6, 16 * GIB)),
        (units(V, {0: 1}) | units(C, {1: 6}), Claim((0,), 6, 8 * GIB)),  # the slot decides where
        (units(D, {1: 1, 3: 1}), Claim((1, 3), 24, 64 * GIB)),
        (units(C, {0: 24, 1: 24}) | units(M, {0: 64, 1: 64}), Claim((0, 1), 24, 64 * GIB)),
    ],
)
def test_what_a_containers_units_come_to(held, comes_to):
    assert claim(held, INVENTORY) == comes_to


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (units(C, {0: 6}), "has cores of NPUs and no memory"),
        (units(M, {0: 6}), "has memory of NPUs and no cores"),
        (units(D, {0: 1}) | units(V, {1: 1}), "a whole device comes with all"),
        (
            units(C, {0: 6, 1: 2}) | units(M, {0: 8}),
            r"not equally many on each .* \(6 on device 0, 2 on device 1\)",
        ),
        (units(V, {0: 1, 1: 1}) | units(C, {0: 5}), "5 cores cannot be divided by 2 devices; ask for a multiple of 2"),
    ],
)
def test_what_makes_no_vnpu_is_refused(held, why):
    with pytest.raises(Refused, match=why):
        claim(held, INVENTORY)


FREE = units(C, {0: 10, 1: 24, 2: 6, 3: 24})


@pytest.mark.parametrize(
    ("wish", "policy", "on"),
    [
        (Wish(6), "pack", {2: 6}),
        (Wish(6), "spread", {1: 6}),
        (Wish(8), "pack", {0: 8}),
        (Wish(6, hint=3), "pack", {3: 6}),
        (Wish(6, fits=(0, 1)), "pack", {0: 6}),
        (Wish(6, must=units(C, {1: 2}, first=20)), "pack", {1: 6}),
        (Wish(48), "pack", {1: 24, 3: 24}),
        (Wish(18), "pack", {1: 18}),
        (Wish(4, apart=True), "spread", {0: 1, 1: 1, 2: 1, 3: 1}),
    ],
)
def test_where_cores_are_taken(wish, policy, on):
    chosen = prefer(FREE, wish, policy)
    assert {at: sum(unit.device == at for unit in chosen) for at in {unit.device for unit in chosen}} == on
    assert wish.must <= set(chosen)


def test_several_devices_are_of_one_ring_where_there_are_rings():
    free = units(D, {0: 1, 1: 1, 2: 1, 3: 1})
    assert [unit.device for unit in prefer(free, Wish(2), "pack", [(0, 3), (1, 2)])] == [0, 3]
    assert [unit.device for unit in prefer(free - units(D, {0: 1}), Wish(2), "pack", [(0, 3), (1, 2)])] == [1, 2]
    assert len(prefer(free, Wish(3), "pack", [(0, 3), (1, 2)])) == 3  # no ring is as large


@settings(deadline=None)
@given(
    st.frozensets(st.sampled_from([*INVENTORY.units(C)]), max_size=60),
    st.integers(1, 60),
    st.sampled_from(["pack", "spread"]),
    st.integers(0, 5),
)
def test_as_many_as_are_wished_for_come_and_all_are_free(free, size, policy, musts):
    must = frozenset(sorted(free)[: min(musts, size)])
    chosen = prefer(free, Wish(size, must), policy)
    assert len(chosen) == min(size, len(free))
    assert must <= set(chosen) <= free


def registered(**amounts: Amount) -> dict[int, Registered]:
    found = {index: Registered(NOTHING, NOTHING) for index in range(4)}
    for name, amount in amounts.items():
        found[int(name[1:])] = Registered(NOTHING, amount)
    return found


def offered(kind: Kind, groups, there) -> dict[int, int]:
    told = healthy(kind, groups, there, INVENTORY)
    return {index: sum(ok for unit, ok in told.items() if unit.device == index) for index in range(4)}


def test_what_is_given_stays_healthy_whatever_else_is_on_the_device():
    groups = [units(C, {0: 6}) | units(M, {0: 16})]
    there = registered(d0=Amount(24, 64 * GIB))
    assert offered(C, groups, there)[0] == 6
    assert offered(M, groups, there)[0] == 16
    assert offered(V, groups, there)[0] == 0


def test_units_of_a_device_in_trouble_are_all_down():
    there = registered()
    there[2] = Registered(NOTHING, NOTHING, "device 2 is lost")
    assert offered(C, [units(C, {2: 6})], there) == {0: 24, 1: 24, 2: 0, 3: 24}


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_whatever_the_kubelet_takes_of_what_is_offered_fits(data):
    """Units are given in any order and of any kind, each healthy when it is given: no device has more than it has."""
    groups: list[frozenset[Unit]] = []
    for _ in range(data.draw(st.integers(1, 8))):
        kind = data.draw(st.sampled_from([*Kind]))
        told = healthy(kind, groups, registered(), INVENTORY)
        held = {unit for group in groups for unit in group}
        free = [unit for unit, ok in told.items() if ok and unit not in held]
        if free:
            groups.append(frozenset(data.draw(st.lists(st.sampled_from(free), min_size=1, max_size=1))))
    total = {index: Amount(24, 64 * GIB) for index in range(4)}
    assert all(
        amount.cores >= 0 and amount.memory_bytes >= 0 and total[index].cores >= amount.cores
        for index, amount in left(groups, registered(), INVENTORY).items()
    )
    for index in range(4):
        here = [unit for group in groups for unit in group if unit.device == index]
        whole = [unit for unit in here if unit.kind is D]
        assert not whole or len(here) == 1
        cores = 3 * sum(unit.kind is V for unit in here) + sum(unit.kind is C for unit in here)
        memory = 8 * sum(unit.kind is V for unit in here) + sum(unit.kind is M for unit in here)
        assert cores <= 24
        assert memory <= 64
