# SPDX-License-Identifier: Apache-2.0
"""What belongs to one container, as it is given and as podresources says it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from device_plugin.allocations import Allocations
from device_plugin.units import Device, Inventory, Kind, Sizes, Unit

GIB = 2**30
C, M, V, D = Kind.CORES, Kind.MEMORY, Kind.VNPU, Kind.DEVICE
INVENTORY = Inventory(
    [Device(i, f"{i:08x}-0000-5000-8000-000000000000", "s", "software", 24, 64 * GIB, None, {}) for i in range(2)],
    Sizes(slots=8, cores=1, memory_bytes=GIB),
)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def given(tmp_path: Path, clock: Clock) -> Allocations:
    return Allocations(tmp_path / "allocations.json", INVENTORY, clock)


def some(kind: Kind, count: int, first: int = 0) -> set[Unit]:
    return {Unit(0, kind, first + number) for number in range(count)}


def groups(given: Allocations) -> list[set[Unit]]:
    return [group.units for group in given.groups()]


def test_resources_that_follow_one_another_are_one_containers(given):
    given.add(some(C, 6))
    given.add(some(M, 16))
    given.add(some(M, 8, 16))
    given.add(some(C, 2, 6))
    assert groups(given) == [some(C, 6) | some(M, 16), some(C, 2, 6) | some(M, 8, 16)]


def test_the_same_again_is_the_same_and_later_somebody_elses(given, clock):
    assert given.add(some(C, 6)) is given.add(some(C, 6))
    clock.now += 60
    again = given.add(some(C, 6))
    given.add(some(M, 4))
    assert again.units == some(C, 6) | some(M, 4)
    assert given.group_of(some(C, 6)) is again


def test_a_whole_device_is_a_container_of_its_own(given):
    given.add({Unit(0, D, 0)})
    given.add(some(C, 6))
    given.add({Unit(1, D, 0)})
    assert len(given.groups()) == 3


def test_what_comes_much_later_is_another_containers(given, clock):
    given.add(some(V, 1))
    clock.now += 60
    given.add(some(C, 6))
    assert len(given.groups()) == 2


def test_a_container_that_has_begun_gets_nothing_more(given):
    given.add(some(V, 1))
    given.close(some(V, 1))
    given.add(some(C, 6))
    assert len(given.groups()) == 2


def test_two_containers_that_were_taken_for_one_are_told_apart(given, clock):
    given.add(some(V, 1))
    given.add(some(C, 6))
    given.add(some(M, 16))
    clock.now += 1
    given.settle([some(V, 1), some(C, 6) | some(M, 16)], clock.now, 30)
    assert sorted(map(len, groups(given))) == [1, 22]


def test_what_was_given_since_the_kubelet_said_so_is_left_alone(given, clock):
    given.add(some(C, 6))
    since = clock.now
    clock.now += 1
    given.add(some(M, 16))
    given.settle([some(C, 6)], since, 30)
    assert groups(given) == [some(C, 6) | some(M, 16)]


def test_an_init_containers_units_stay_beside_those_of_the_one_that_gets_them(given, clock):
    given.add(some(C, 12))
    given.add(some(M, 32))
    given.add(some(C, 6))
    given.add(some(M, 16))
    clock.now += 100
    given.settle([some(C, 6) | some(M, 16)], clock.now, 30)
    assert groups(given) == [some(C, 12) | some(M, 32), some(C, 6) | some(M, 16)]
    assert given.group_of(some(M, 32)).units == some(C, 12) | some(M, 32)


def test_what_nobody_has_is_forgotten_after_a_while(given, clock):
    given.add(some(C, 6))
    clock.now += 29
    given.settle([], clock.now, 30)
    assert groups(given) == [some(C, 6)]
    clock.now += 2
    given.settle([], clock.now, 30)
    assert groups(given) == []


def test_the_next_plugin_knows_it(given, clock, tmp_path):
    given.add(some(C, 6))
    given.add(some(M, 16))
    assert groups(Allocations(tmp_path / "allocations.json", INVENTORY, clock)) == groups(given)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"groups": 1}', '{"groups": [["x"], [1]]}', '{"groups": [["x"]]}'])
def test_a_file_that_cannot_be_read_is_as_none(text, clock, tmp_path):
    (tmp_path / "file").write_text(text)
    assert groups(Allocations(tmp_path / "file", INVENTORY, clock)) == []
