# SPDX-License-Identifier: Apache-2.0
"""What is registered stays registered: transactions, revisions, and a file that another process finds whole."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from flexnpu.errors import (
    InvalidValue,
    NameTaken,
    OverQuota,
    RegistryError,
    RevisionChanged,
    UnknownDevice,
    UnknownVNpu,
)
from flexnpu.tenancy import Capacity, Lease, Move, Owner, Quota, Registry, VNpu

GIB = 2**30
DEVICES = [Capacity(0, 24, 64 * GIB), Capacity(1, 8, 16 * GIB)]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry.sqlite", DEVICES)


def new(name: str, cores: int = 4, *, device: int = 0, owner: Owner | None = None, phase: str | None = None) -> VNpu:
    return VNpu(0, name, device, Quota(cores, GIB), phase, owner)


def test_a_vnpu_is_found_again_in_the_file(registry: Registry, tmp_path: Path):
    made = registry.create(new("a", owner=Owner(42, "boot:7"), phase="decode"))
    registry.set_quota("a", cores=6)
    registry.close()
    (found,) = Registry(tmp_path / "registry.sqlite", DEVICES).vnpus()
    assert found == VNpu(made.id, "a", 0, Quota(6, GIB, 2), "decode", Owner(42, "boot:7"))


def test_an_id_is_never_used_twice(registry: Registry):
    first = registry.create(new("a"))
    registry.delete("a")
    assert registry.create(new("a")).id != first.id


def test_each_change_raises_the_revision_by_one(registry: Registry):
    registry.create(new("a"))
    assert [registry.set_quota("a", cores=n).quota.revision for n in (5, 6, 6, 7)] == [2, 3, 3, 4]


def test_a_rebalance_may_swap_on_a_full_device(registry: Registry):
    registry.create(new("a", 16))
    registry.create(new("b", 8))
    after = registry.rebalance([Move("b", 16), Move("a", 8)])
    assert [(vnpu.name, vnpu.quota.cores, vnpu.quota.revision) for vnpu in after] == [("b", 16, 2), ("a", 8, 2)]


def test_a_refused_rebalance_changes_nothing(registry: Registry):
    registry.create(new("a", 16))
    registry.create(new("b", 8))
    before = registry.vnpus()
    with pytest.raises(OverQuota):
        registry.rebalance([Move("a", 10), Move("b", 15)])
    with pytest.raises(UnknownVNpu):
        registry.rebalance([Move("a", 10), Move("c", 2)])
    with pytest.raises(InvalidValue):
        registry.rebalance([Move("a", 10), Move("a", 2)])
    assert registry.vnpus() == before


def test_a_change_can_be_tied_to_a_revision(registry: Registry):
    registry.create(new("a"))
    registry.set_quota("a", cores=5, if_revision=1)
    with pytest.raises(RevisionChanged, match="revision 2, not 1"):
        registry.set_quota("a", cores=6, if_revision=1)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ä", "x" * 64, "a\n"])
def test_a_name_must_fit_the_page_and_a_path(registry: Registry, name: str):
    with pytest.raises(InvalidValue, match="1 to 63"):
        registry.create(new(name))


def test_what_does_not_exist_is_named_with_what_does(registry: Registry):
    registry.create(new("a"))
    with pytest.raises(UnknownVNpu, match=r"'b'.*there are: a"):
        registry.get("b")
    with pytest.raises(UnknownDevice, match=r"device 2.*there are: 0, 1"):
        registry.create(new("b", device=2))
    with pytest.raises(NameTaken, match="'a'"):
        registry.create(new("a", device=1))


def test_leases_and_grants_go_with_their_vnpu(registry: Registry):
    a = registry.create(new("a"))
    registry.add_lease(Lease(a.id, 42, "boot:7"))
    registry.record_grant(a.id, (1, 4), 0)
    registry.delete("a")
    assert registry.leases() == []
    assert registry.grants(a.id) == []


def test_grants_are_kept_until_a_newer_one_is_applied(registry: Registry):
    a = registry.create(new("a"))
    for revision, applied in ((1, 1), (2, 1), (3, 1)):
        registry.record_grant(a.id, (revision, 10 - revision), applied)
    assert registry.grants(a.id) == [(1, 9), (2, 8), (3, 7)]
    registry.record_grant(a.id, (3, 7), 3)
    assert registry.grants(a.id) == [(3, 7)]


def test_a_registry_of_a_later_version_is_not_touched(tmp_path: Path):
    path = tmp_path / "registry.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(RegistryError, match="schema 2"):
        Registry(path, DEVICES)
    assert path.read_bytes() == before


def test_a_file_that_is_no_registry_is_refused(tmp_path: Path):
    path = tmp_path / "registry.sqlite"
    path.write_text("something else entirely, and long enough to be looked at\n" * 20)
    with pytest.raises(RegistryError, match="cannot be used"):
        Registry(path, DEVICES)
