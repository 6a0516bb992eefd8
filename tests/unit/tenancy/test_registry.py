# SPDX-License-Identifier: Apache-2.0
"""What is registered stays registered: transactions, revisions, and a file that another process finds whole."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

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
from flexnpu.tenancy import Capacity, Granted, Lease, Move, MoveFields, Owner, Quota, Registry, VNpu
from flexnpu.tenancy.schema import SCHEMA_VERSION

GIB = 2**30
DEVICES = [Capacity(0, 24, 64 * GIB, 48), Capacity(1, 8, 16 * GIB, 8)]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry.sqlite", DEVICES)


def new(name: str, cores: int = 4, *, device: int = 0, owner: Owner | None = None, phase: str | None = None) -> VNpu:
    return VNpu(0, name, (device,), Quota(cores, GIB), phase, owner)


def test_a_vnpu_is_found_again_in_the_file(registry: Registry, tmp_path: Path):
    made = registry.create(new("a", owner=Owner(42, "boot:7"), phase="decode"))
    registry.set_quota("a", cores=6)
    registry.close()
    (found,) = Registry(tmp_path / "registry.sqlite", DEVICES).vnpus()
    assert found == VNpu(made.id, "a", (0,), Quota(6, GIB, 2), "decode", Owner(42, "boot:7"))


def test_an_id_is_never_used_twice(registry: Registry):
    first = registry.create(new("a"))
    registry.delete("a")
    assert registry.create(new("a")).id != first.id


def test_each_change_raises_the_revision_by_one(registry: Registry):
    registry.create(new("a"))
    assert [registry.set_quota("a", cores=n).quota.revision for n in (5, 6, 6, 7)] == [2, 3, 3, 4]


def to(name: str, **fields: Unpack[MoveFields]) -> Move:
    return Move(name, fields)


def test_a_rebalance_may_swap_on_a_full_device(registry: Registry):
    registry.create(new("a", 16))
    registry.create(new("b", 8))
    after = registry.rebalance([to("b", cores=16), to("a", cores=8)])
    assert [(vnpu.name, vnpu.quota.cores, vnpu.quota.revision) for vnpu in after] == [("b", 16, 2), ("a", 8, 2)]


def test_a_refused_rebalance_changes_nothing(registry: Registry):
    registry.create(new("a", 16))
    registry.create(new("b", 8))
    before = registry.vnpus()
    with pytest.raises(OverQuota):
        registry.rebalance([to("a", cores=10), to("b", cores=15)])
    with pytest.raises(UnknownVNpu):
        registry.rebalance([to("a", cores=10), to("c", cores=2)])
    with pytest.raises(InvalidValue):
        registry.rebalance([to("a", cores=10), to("a", cores=2)])
    assert registry.vnpus() == before


def test_a_rebalance_goes_from_parted_cores_to_time_on_all_of_them_and_back(registry: Registry):
    registry.create(new("a", 18))
    registry.create(new("b", 6))
    shared = registry.rebalance([to("a", cores=24, share=6000), to("b", cores=24, share=4000, priority=1)])
    assert [vnpu.quota for vnpu in shared] == [
        Quota(24, GIB, 2, share=6000),
        Quota(24, GIB, 2, share=4000, priority=1),
    ]
    (moved,) = registry.rebalance([to("b", share=3000)])
    assert moved.quota == Quota(24, GIB, 3, share=3000, priority=1)
    parted = registry.rebalance([to("a", cores=18, share=None), to("b", cores=6, share=None)])
    assert [(vnpu.quota.cores, vnpu.quota.share, vnpu.quota.revision) for vnpu in parted] == [
        (18, None, 3),
        (6, None, 4),
    ]


def test_a_rebalance_whose_shares_or_cores_do_not_fit_together_changes_nothing(registry: Registry):
    registry.create(new("a", 18))
    registry.create(new("b", 6))
    before = registry.vnpus()
    for moves in (
        [to("a", cores=24, share=6000), to("b", cores=24, share=4001)],
        [to("a", cores=24, share=6000), to("b", cores=6)],
        [to("a", share=6000), to("b", cores=7)],
    ):
        with pytest.raises(OverQuota):
            registry.rebalance(moves)
    with pytest.raises(InvalidValue, match="priority 8"):
        registry.rebalance([to("a", cores=17), to("b", priority=8)])
    assert registry.vnpus() == before


def test_a_move_that_changes_nothing_is_refused():
    with pytest.raises(InvalidValue, match="move of a changes nothing"):
        to("a")


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
    registry.add_lease(Lease(a.id, 0, 42, "boot:7"))
    registry.record_grant(a.id, 0, Granted(1, 4, 4), 0)
    registry.delete("a")
    assert registry.leases() == []
    assert registry.grants(a.id, 0) == []


def test_grants_are_kept_until_a_newer_one_is_applied(registry: Registry):
    a = registry.create(new("a"))
    grants = [Granted(revision, 10 - revision, 12) for revision in (1, 2, 3)]
    for grant in grants:
        registry.record_grant(a.id, 0, grant, 1)
    assert registry.grants(a.id, 0) == grants
    assert registry.grants(a.id, 1) == []
    registry.record_grant(a.id, 0, grants[2], 3)
    assert registry.grants(a.id, 0) == grants[2:]


def test_every_limit_is_found_again_in_the_file(registry: Registry, tmp_path: Path):
    quota = Quota(4, GIB, burst_cores=8, vector_cores=6, share=2500, fixed_share=True, priority=3)
    made = registry.create(VNpu(0, "a", (1, 0), quota))
    registry.close()
    assert Registry(tmp_path / "registry.sqlite", DEVICES).vnpus() == [made]
    assert made.quota == quota


def test_what_a_change_does_not_name_stays_and_none_takes_away(registry: Registry):
    registry.create(VNpu(0, "a", (0,), Quota(4, GIB, burst_cores=8, share=2500, fixed_share=True, priority=3)))
    assert registry.set_quota("a", cores=6).quota == Quota(6, GIB, 2, 8, None, 2500, True, 3)
    assert registry.set_quota("a", burst_cores=None, share=None).quota == Quota(6, GIB, 3, priority=3)


def test_a_vnpu_of_several_devices_must_fit_each(registry: Registry):
    registry.create(new("a", 8, device=1))
    with pytest.raises(OverQuota, match="device 1"):
        registry.create(VNpu(0, "b", (0, 1), Quota(1, GIB)))
    assert [vnpu.name for vnpu in registry.vnpus()] == ["a"]


@pytest.mark.parametrize("devices", [(), (0, 0), tuple(range(17))])
def test_devices_are_one_to_sixteen_different_ones(registry: Registry, devices: tuple[int, ...]):
    with pytest.raises(InvalidValue, match="1 to 16 devices"):
        registry.create(VNpu(0, "a", devices, Quota(1, GIB)))


def test_a_registry_of_schema_1_is_taken_over_whole(tmp_path: Path):
    path = tmp_path / "registry.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(Path(__file__).with_name("registry_schema_1.sql").read_text())
    registry = Registry(path, DEVICES)
    assert registry.vnpus() == [
        VNpu(3, "prefill", (0,), Quota(16, 8 * GIB, 5), "prefill", Owner(42, "boot:7")),
        VNpu(7, "decode", (1,), Quota(8, 4 * GIB, 1)),
    ]
    assert registry.leases() == [Lease(3, 0, 42, "boot:7"), Lease(3, 1, 43, "boot:8"), Lease(7, 0, 50, "boot:9")]
    assert registry.grants(3, 0) == [Granted(4, 18, 18), Granted(5, 16, 16)]
    registry.delete("decode")
    assert registry.create(new("next", device=1)).id == 10  # 9 was given once, to one that is gone
    registry.close()
    with sqlite3.connect(path) as now:
        assert now.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert now.execute("PRAGMA foreign_key_check").fetchall() == []
        tables = {name for (name,) in now.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"vnpu", "lease", "granted", "sqlite_sequence"}


def test_a_registry_of_schema_2_is_taken_over_whole(tmp_path: Path):
    path = tmp_path / "registry.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(Path(__file__).with_name("registry_schema_2.sql").read_text())
    registry = Registry(path, DEVICES)
    assert registry.vnpus() == [
        VNpu(1, "prefill", (0,), Quota(24, GIB, 2, share=6000), "prefill"),
        VNpu(2, "wide", (0, 1), Quota(4, GIB, burst_cores=8), None, Owner(42, "boot:7")),
    ]
    assert registry.leases() == [Lease(2, 0, 43, "boot:8")]
    assert registry.grants(1, 0) == [Granted(1, 18, 18, 6000), Granted(2, 24, 24, 6000)]
    assert registry.grants(2, 1) == [Granted(1, 4, 8)]


def test_a_registry_of_schema_3_is_taken_over_whole(tmp_path: Path):
    path = tmp_path / "registry.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(Path(__file__).with_name("registry_schema_3.sql").read_text())
    registry = Registry(path, DEVICES)
    assert registry.vnpus() == [
        VNpu(1, "prefill", (0,), Quota(24, GIB, 2, share=6000), "prefill"),
        VNpu(2, "wide", (0, 1), Quota(4, GIB, burst_cores=8), None, Owner(42, "boot:7")),
    ]
    assert registry.leases() == [Lease(2, 0, 43, "boot:8")]
    assert registry.grants(1, 0) == [Granted(2, 24, 24, 6000)]


def test_labels_and_attach_dirs_outlive_the_daemon(tmp_path: Path):
    labels, folders = {"pod": "llm-0", "example.com/zone": "ä b"}, (Path("/run/pods/a"), Path("/run/pods/b"))
    registry = Registry(tmp_path / "r", DEVICES)
    registry.create(VNpu(0, "a", (0,), Quota(1, 1), labels=labels, attach_dirs=folders))
    registry.close()
    registry = Registry(tmp_path / "r", DEVICES)
    assert (registry.get("a").labels, registry.get("a").attach_dirs) == (labels, folders)
    registry.set_labels("a", {"pod": "llm-1"}, if_revision=1)
    assert registry.get("a").labels == {"pod": "llm-1"}
    assert registry.get("a").quota.revision == 1
    with pytest.raises(RevisionChanged):
        registry.set_labels("a", {}, if_revision=2)


@pytest.mark.parametrize(
    ("labels", "folders", "told"),
    [
        ({"a b": "c"}, (), "label 'a b' is not usable; use 1 to 63"),
        ({"a": "x" * 254}, (), "label a has a value that is not usable; use up to 253"),
        ({"a": "x\ny"}, (), "label a has a value"),
        ({str(i): "" for i in range(17)}, (), "17 labels are too many; give at most 16"),
        ({}, (Path("run"),), "attach_dirs names 'run'; give absolute paths"),
        ({}, (Path("/run/../etc"),), "attach_dirs names '/run/../etc'; give absolute"),
        ({}, (Path("/"),), "attach_dirs names '/'; give absolute"),
        ({}, (Path("/run/\0"),), "attach_dirs names "),
        ({}, (Path("/run"), Path("/run")), "attach_dirs names 2 folders; give at most 4, each once"),
    ],
)
def test_bad_labels_and_folders_are_refused_in_a_line(labels, folders, told):
    registry = Registry(":memory:", DEVICES)
    with pytest.raises(InvalidValue, match=told):
        registry.create(VNpu(0, "a", (0,), Quota(1, 1), labels=labels, attach_dirs=folders))
    assert registry.vnpus() == []


def test_a_registry_that_is_killed_while_it_is_taken_over_is_still_the_old_one(tmp_path: Path):
    path = tmp_path / "registry.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(Path(__file__).with_name("registry_schema_1.sql").read_text())
        old.execute("CREATE TABLE old_lease (in_the_way INTEGER)")  # the third step fails
    with pytest.raises(RegistryError, match="cannot be used"):
        Registry(path, DEVICES)
    with sqlite3.connect(path) as still:
        assert still.execute("PRAGMA user_version").fetchone() == (1,)
        assert still.execute("SELECT device FROM vnpu ORDER BY id").fetchall() == [(0,), (1,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, which is soon full."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_no_space_left_is_one_clear_error_and_nothing_half_done(small_disk: Path):
    registry = Registry(small_disk / "registry.sqlite", [Capacity(0, 10_000, 10_000 * GIB, 10_000)])
    made: list[VNpu] = []
    with pytest.raises(RegistryError, match=r"full.*nothing was done") as refused:
        for number in range(1000):
            made.append(registry.create(new(f"vnpu-with-a-rather-long-name-{number}", 1)))
    assert "\n" not in str(refused.value)
    assert "free some space" in refused.value.next_step
    assert registry.vnpus() == made
    for change in (
        lambda: registry.set_quota(made[0].name, cores=2),
        lambda: registry.add_lease(Lease(made[0].id, 0, 42, "boot:7" * 2000)),
    ):
        before = registry.vnpus(), registry.leases()
        with pytest.raises(RegistryError):
            for _ in range(1000):
                change()
                before = registry.vnpus(), registry.leases()
        assert (registry.vnpus(), registry.leases()) == before
    whole = registry.vnpus()
    registry.close()
    # On the full disk the next daemon can still read it; elsewhere it is sound.
    again = Registry(small_disk / "registry.sqlite", [Capacity(0, 10_000, 10_000 * GIB, 10_000)])
    assert again.vnpus() == whole
    again.close()
    shutil.copytree(small_disk, small_disk.with_name("copy"))
    with sqlite3.connect(small_disk.with_name("copy") / "registry.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_registry_of_a_later_version_is_not_touched(tmp_path: Path):
    path = tmp_path / "registry.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(RegistryError, match=f"schema {SCHEMA_VERSION + 1}"):
        Registry(path, DEVICES)
    assert path.read_bytes() == before


def test_a_file_that_is_no_registry_is_refused(tmp_path: Path):
    path = tmp_path / "registry.sqlite"
    path.write_text("something else entirely, and long enough to be looked at\n" * 20)
    with pytest.raises(RegistryError, match="cannot be used"):
        Registry(path, DEVICES)
