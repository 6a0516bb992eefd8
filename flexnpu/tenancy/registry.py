# SPDX-License-Identifier: Apache-2.0
"""The vNPUs of a daemon, kept in SQLite so that they outlive it. One transaction per change.

Beside the vNPUs it keeps what a restarted daemon must know: which processes were attached, and which grants their work
may still be cut for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from flexnpu.errors import InvalidValue, NameTaken, RegistryError, RevisionChanged, UnknownDevice, UnknownVNpu
from flexnpu.tenancy.admission import Capacity, admit
from flexnpu.tenancy.vnpu import Move, Owner, Quota, VNpu, check_name, check_phase

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE vnpu (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    device INTEGER NOT NULL,
    cores INTEGER NOT NULL CHECK (cores > 0),
    memory_bytes INTEGER NOT NULL CHECK (memory_bytes > 0),
    revision INTEGER NOT NULL,
    phase TEXT,
    owner_pid INTEGER,
    owner_born TEXT
) STRICT;
CREATE TABLE lease (
    vnpu INTEGER NOT NULL REFERENCES vnpu (id) ON DELETE CASCADE,
    pid INTEGER NOT NULL,
    born TEXT NOT NULL,
    PRIMARY KEY (vnpu, pid, born)
) STRICT;
CREATE TABLE granted (
    vnpu INTEGER NOT NULL REFERENCES vnpu (id) ON DELETE CASCADE,
    revision INTEGER NOT NULL,
    cores INTEGER NOT NULL,
    PRIMARY KEY (vnpu, revision)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """A process that was attached to a vNPU."""

    vnpu: int
    pid: int
    born: str


class Registry:
    """Use from one thread. Every method that changes something checks admission and commits, or raises and does not."""

    def __init__(self, path: Path | str, capacities: Sequence[Capacity]) -> None:
        self._capacities: Mapping[int, Capacity] = {capacity.device: capacity for capacity in capacities}
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._prepare(path)
        except sqlite3.DatabaseError as error:
            raise RegistryError(
                f"registry {path} cannot be used ({error})", next_step="move it away and start again"
            ) from error

    def close(self) -> None:
        self._db.close()

    def vnpus(self) -> list[VNpu]:
        """All of them, in the order they were made."""
        return [_vnpu(row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM vnpu ORDER BY id")]

    def get(self, name: str) -> VNpu:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM vnpu WHERE name = ?", (name,)).fetchone()
        if row is None:
            known = ", ".join(vnpu.name for vnpu in self.vnpus()) or "none"
            raise UnknownVNpu(f"vNPU {name!r} does not exist (there are: {known})", next_step="see flexnpu ps")
        return _vnpu(row)

    def create(self, wanted: VNpu) -> VNpu:
        """The vNPU with its id; `wanted.id` does not matter."""
        check_name(wanted.name)
        check_phase(wanted.phase)
        owner = wanted.owner
        with self._transaction():
            taken = next((vnpu for vnpu in self.vnpus() if vnpu.name == wanted.name), None)
            if taken is not None:
                raise NameTaken(
                    f"name {wanted.name!r} is taken by a vNPU on device {taken.device}",
                    next_step="choose another --name, or flexnpu delete it",
                )
            wanted = replace(wanted, id=-1)
            admit(self._capacity(wanted.device), self.vnpus(), [wanted])
            cursor = self._db.execute(
                "INSERT INTO vnpu (name, device, cores, memory_bytes, revision, phase, owner_pid, owner_born) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    wanted.name,
                    wanted.device,
                    wanted.quota.cores,
                    wanted.quota.memory_bytes,
                    wanted.quota.revision,
                    wanted.phase,
                    owner.pid if owner else None,
                    owner.born if owner else None,
                ),
            )
        return replace(wanted, id=cursor.lastrowid or 0)

    def delete(self, name: str) -> VNpu:
        with self._transaction():
            vnpu = self.get(name)
            self._db.execute("DELETE FROM vnpu WHERE id = ?", (vnpu.id,))
        return vnpu

    def set_quota(
        self, name: str, *, cores: int | None = None, memory_bytes: int | None = None, if_revision: int | None = None
    ) -> VNpu:
        """The vNPU after the change; unchanged, with its old revision, when nothing differs."""
        with self._transaction():
            before = self.get(name)
            if if_revision is not None and if_revision != before.quota.revision:
                raise RevisionChanged(
                    f"quota of {name} is at revision {before.quota.revision}, not {if_revision}",
                    next_step="read it again and decide anew",
                )
            after = _changed(before, cores, memory_bytes)
            admit(self._capacity(after.device), self.vnpus(), [after])
            self._store([after])
        return after

    def rebalance(self, moves: Sequence[Move]) -> list[VNpu]:
        """All moves or none; the vNPUs after it, in the order of the moves."""
        names = [move.vnpu for move in moves]
        if not moves or len(set(names)) != len(names):
            raise InvalidValue(f"moves name {', '.join(names) or 'nothing'}", next_step="name each vNPU once")
        with self._transaction():
            after = [_changed(self.get(move.vnpu), move.cores, None) for move in moves]
            for device in {vnpu.device for vnpu in after}:
                admit(self._capacity(device), self.vnpus(), after)
            self._store(after)
        return after

    def leases(self) -> list[Lease]:
        return [Lease(*row) for row in self._db.execute("SELECT vnpu, pid, born FROM lease ORDER BY vnpu, pid")]

    def add_lease(self, lease: Lease) -> None:
        self._db.execute("INSERT OR IGNORE INTO lease VALUES (?, ?, ?)", (lease.vnpu, lease.pid, lease.born))

    def drop_lease(self, lease: Lease) -> None:
        self._db.execute(
            "DELETE FROM lease WHERE vnpu = ? AND pid = ? AND born = ?", (lease.vnpu, lease.pid, lease.born)
        )

    def grants(self, vnpu: int) -> list[tuple[int, int]]:
        """(revision, cores) that tenants may still use; the last is the newest."""
        rows = self._db.execute("SELECT revision, cores FROM granted WHERE vnpu = ? ORDER BY revision", (vnpu,))
        return [(revision, cores) for revision, cores in rows]

    def record_grant(self, vnpu: int, grant: tuple[int, int], applied_revision: int) -> None:
        """Remember a grant, and forget those that nobody can use any more."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO granted VALUES (?, ?, ?)", (vnpu, *grant))
            self._db.execute("DELETE FROM granted WHERE vnpu = ? AND revision < ?", (vnpu, applied_revision))

    def _prepare(self, path: Path | str) -> None:
        # It must outlive the daemon, not the machine: no vNPU survives a reboot, so no disk is waited for.
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA foreign_keys = ON")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise RegistryError(
                f"registry {path} has schema {version}, made by a newer FlexNPU; this one knows up to {SCHEMA_VERSION}",
                next_step="start that newer flexnpud, or move the file away",
            )
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def _capacity(self, device: int) -> Capacity:
        if device not in self._capacities:
            known = ", ".join(map(str, self._capacities))
            raise UnknownDevice(f"device {device} does not exist (there are: {known})", next_step="see flexnpu ps")
        return self._capacities[device]

    def _store(self, vnpus: Sequence[VNpu]) -> None:
        for vnpu in vnpus:
            self._db.execute(
                "UPDATE vnpu SET cores = ?, memory_bytes = ?, revision = ? WHERE id = ?",
                (vnpu.quota.cores, vnpu.quota.memory_bytes, vnpu.quota.revision, vnpu.id),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


_COLUMNS = "id, name, device, cores, memory_bytes, revision, phase, owner_pid, owner_born"


def _vnpu(row: tuple[int, str, int, int, int, int, str | None, int | None, str | None]) -> VNpu:
    id_, name, device, cores, memory_bytes, revision, phase, pid, born = row
    owner = Owner(pid, born or "") if pid is not None else None
    return VNpu(id_, name, device, Quota(cores, memory_bytes, revision), phase, owner)


def _changed(before: VNpu, cores: int | None, memory_bytes: int | None) -> VNpu:
    quota = Quota(
        before.quota.cores if cores is None else cores,
        before.quota.memory_bytes if memory_bytes is None else memory_bytes,
        before.quota.revision + 1,
    )
    same = (quota.cores, quota.memory_bytes) == (before.quota.cores, before.quota.memory_bytes)
    return before if same else replace(before, quota=quota)
