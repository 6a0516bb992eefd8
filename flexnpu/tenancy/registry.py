# SPDX-License-Identifier: Apache-2.0
"""The vNPUs of a daemon, kept in SQLite so that they outlive it. One transaction per change.

Beside the vNPUs it keeps what a restarted daemon must know: which processes were attached, and which grants their work
may still be cut for.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from flexnpu.errors import InvalidValue, NameTaken, RegistryError, RevisionChanged, UnknownDevice, UnknownVNpu
from flexnpu.tenancy.admission import Capacity, admit
from flexnpu.tenancy.schema import SCHEMA_VERSION, bring_up
from flexnpu.tenancy.vnpu import (
    Move,
    MoveFields,
    Owner,
    Quota,
    QuotaFields,
    VNpu,
    check_attach_dirs,
    check_devices,
    check_labels,
    check_name,
    check_phase,
)


@dataclass(frozen=True, slots=True)
class Lease:
    """A process that was attached to a vNPU, and its slot in the vNPU's ledger."""

    vnpu: int
    slot: int
    pid: int
    born: str


@dataclass(frozen=True, slots=True)
class Granted:
    """Cores of one revision on one device; most_cores: with what idle others may have lent. share: of the device's
    time, in 1/10,000; None: the cores are its own all the time."""

    revision: int
    cores: int
    most_cores: int
    share: int | None = None


class Registry:
    """Use from one thread. Every method that changes something checks admission and commits, or raises and does not.

    The vNPUs are in memory, too, as committed: nobody else changes the file, and no request shall read a thousand rows.
    """

    def __init__(self, path: Path | str, capacities: Sequence[Capacity]) -> None:
        self._capacities: Mapping[int, Capacity] = {capacity.device: capacity for capacity in capacities}
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
        except sqlite3.DatabaseError as error:
            raise _unusable(path, error) from error
        try:
            self._prepare(path)
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM vnpu ORDER BY id")
            self._known: dict[str, VNpu] = {}
            self._on: dict[int, dict[int, VNpu]] = defaultdict(dict)  # by device and id
            for row in rows:
                self._keep(_vnpu(row))
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise _unusable(path, error) from error
            raise

    def close(self) -> None:
        self._db.close()

    def check(self) -> None:
        """RegistryError when it cannot be read."""
        with self._trouble():
            self._db.execute("SELECT 1 FROM vnpu LIMIT 1").fetchone()

    def vnpus(self) -> list[VNpu]:
        """All of them, in the order they were made."""
        return [*self._known.values()]

    def get(self, name: str) -> VNpu:
        if name not in self._known:
            known = ", ".join(self._known) or "none"
            raise UnknownVNpu(f"vNPU {name!r} does not exist (there are: {known})", next_step="see flexnpu ps")
        return self._known[name]

    def create(self, wanted: VNpu) -> VNpu:
        """The vNPU with its id; `wanted.id` does not matter."""
        check_name(wanted.name)
        check_phase(wanted.phase)
        check_devices(wanted.devices)
        check_labels(wanted.labels)
        check_attach_dirs(wanted.attach_dirs)
        with self._transaction():
            taken = self._known.get(wanted.name)
            if taken is not None:
                raise NameTaken(
                    f"name {wanted.name!r} is taken by a vNPU on device {', '.join(map(str, taken.devices))}",
                    next_step="choose another --name, or flexnpu delete it",
                )
            wanted = replace(wanted, id=-1)
            self._admit([wanted])
            values = _values(wanted)
            marks = ", ".join("?" * len(values))
            cursor = self._db.execute(f"INSERT INTO vnpu ({', '.join(values)}) VALUES ({marks})", [*values.values()])
        return self._keep(replace(wanted, id=cursor.lastrowid or 0))

    def delete(self, name: str, *, if_revision: int | None = None) -> VNpu:
        with self._transaction():
            vnpu = self.get(name)
            _check_revision(vnpu, if_revision)
            self._db.execute("DELETE FROM vnpu WHERE id = ?", (vnpu.id,))
        del self._known[name]
        for device in vnpu.devices:
            del self._on[device][vnpu.id]
        return vnpu

    def set_quota(self, name: str, *, if_revision: int | None = None, **fields: Unpack[QuotaFields]) -> VNpu:
        """The vNPU after the change; unchanged, with its old revision, when nothing differs."""
        with self._transaction():
            before = self.get(name)
            _check_revision(before, if_revision)
            after = _changed(before, fields)
            self._admit([after])
            self._store([after])
        return self._keep(after)

    def set_phase(self, name: str, phase: str | None, *, if_revision: int | None = None) -> VNpu:
        """As set_quota(); the phase travels with the quota, so its change is one of the quota's revisions."""
        check_phase(phase)
        with self._transaction():
            before = self.get(name)
            _check_revision(before, if_revision)
            if phase == before.phase:
                return before
            quota = replace(before.quota, revision=before.quota.revision + 1)
            after = replace(before, phase=phase, quota=quota)
            self._store([after])
        return self._keep(after)

    def set_labels(self, name: str, labels: Mapping[str, str], *, if_revision: int | None = None) -> VNpu:
        """In place of those that it has; no change of its quota."""
        check_labels(labels)
        with self._transaction():
            before = self.get(name)
            _check_revision(before, if_revision)
            after = replace(before, labels=dict(labels))
            self._store([after])
        return self._keep(after)

    def rebalance(self, moves: Sequence[Move], *, dry_run: bool = False) -> list[VNpu]:
        """All moves or none; the vNPUs after it, in the order of the moves. dry_run: nothing is changed."""
        names = [move.vnpu for move in moves]
        if not moves or len(set(names)) != len(names):
            raise InvalidValue(f"moves name {', '.join(names) or 'nothing'}", next_step="name each vNPU once")
        with self._transaction():
            after = [_changed(self.get(move.vnpu), move.fields) for move in moves]
            self._admit(after)
            if not dry_run:
                self._store(after)
        return after if dry_run else [*map(self._keep, after)]

    def leases(self) -> list[Lease]:
        return [Lease(*row) for row in self._db.execute("SELECT vnpu, slot, pid, born FROM lease ORDER BY vnpu, slot")]

    def add_lease(self, lease: Lease) -> None:
        with self._trouble():
            self._db.execute(
                "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?)", (lease.vnpu, lease.slot, lease.pid, lease.born)
            )

    def drop_lease(self, lease: Lease) -> None:
        with self._trouble():
            self._db.execute(
                "DELETE FROM lease WHERE vnpu = ? AND slot = ? AND pid = ? AND born = ?",
                (lease.vnpu, lease.slot, lease.pid, lease.born),
            )

    def grants(self, vnpu: int, device: int) -> list[Granted]:
        """What tenants may still use; the last is the newest."""
        rows = self._db.execute(
            "SELECT revision, cores, most_cores, share FROM granted WHERE vnpu = ? AND device = ? ORDER BY revision",
            (vnpu, device),
        )
        return [Granted(*row) for row in rows]

    def record_grant(self, vnpu: int, device: int, grant: Granted, applied_revision: int) -> None:
        """Remember a grant, and forget those that nobody can use any more."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO granted VALUES (?, ?, ?, ?, ?, ?)",
                (vnpu, device, grant.revision, grant.cores, grant.most_cores, grant.share),
            )
            self._db.execute(
                "DELETE FROM granted WHERE vnpu = ? AND device = ? AND revision < ?", (vnpu, device, applied_revision)
            )

    def _prepare(self, path: Path | str) -> None:
        # One process at a time has it, so the write-ahead log needs no shared memory beside it.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise RegistryError(
                f"registry {path} has schema {version}, made by a newer FlexNPU; this one knows up to {SCHEMA_VERSION}",
                next_step="start that newer flexnpud, or move the file away",
            )
        # It must outlive the daemon, not the machine: no vNPU survives a reboot, so no disk is waited for.
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA journal_mode = WAL")
        if version < SCHEMA_VERSION:
            bring_up(self._db, version)
        self._db.execute("PRAGMA foreign_keys = ON")

    def _keep(self, vnpu: VNpu) -> VNpu:
        """What is committed."""
        self._known[vnpu.name] = vnpu
        for device in vnpu.devices:
            self._on[device][vnpu.id] = vnpu
        return vnpu

    def _admit(self, changed: Sequence[VNpu]) -> None:
        for device in sorted({device for vnpu in changed for device in vnpu.devices}):
            admit(self._capacity(device), self._on[device].values(), changed)

    def _capacity(self, device: int) -> Capacity:
        if device not in self._capacities:
            raise UnknownDevice.among(device, self._capacities)
        return self._capacities[device]

    def _store(self, vnpus: Iterable[VNpu]) -> None:
        for vnpu in vnpus:
            values = _values(vnpu)
            assignments = ", ".join(f"{column} = ?" for column in values)
            self._db.execute(f"UPDATE vnpu SET {assignments} WHERE id = ?", [*values.values(), vnpu.id])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._trouble():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise RegistryError(
                f"registry cannot be changed ({error}); nothing was done",
                next_step="free some space in the runtime directory" if _is_full(error) else "see the daemon's log",
            ) from error


_COLUMNS = (
    "id, name, devices, phase, owner_pid, owner_born, "
    "cores, memory_bytes, revision, burst_cores, vector_cores, share, fixed_share, priority, labels, attach_dirs"
)


def _vnpu(row: tuple[Any, ...]) -> VNpu:
    id_, name, devices, phase, pid, born, *numbers, labels, attach_dirs = row
    cores, memory_bytes, revision, burst, vector, share, fixed, priority = numbers
    owner = Owner(pid, born or "") if pid is not None else None
    quota = Quota(cores, memory_bytes, revision, burst, vector, share, bool(fixed), priority)
    places, folders = tuple(map(int, devices.split(","))), tuple(map(Path, json.loads(attach_dirs)))
    return VNpu(id_, name, places, quota, phase, owner, json.loads(labels), folders)


def _values(vnpu: VNpu) -> dict[str, int | str | None]:
    """By column, but for the id."""
    quota, owner = vnpu.quota, vnpu.owner
    return {
        "name": vnpu.name,
        "devices": ",".join(map(str, vnpu.devices)),
        "cores": quota.cores,
        "memory_bytes": quota.memory_bytes,
        "revision": quota.revision,
        "burst_cores": quota.burst_cores,
        "vector_cores": quota.vector_cores,
        "share": quota.share,
        "fixed_share": int(quota.fixed_share),
        "priority": quota.priority,
        "phase": vnpu.phase,
        "owner_pid": owner.pid if owner else None,
        "owner_born": owner.born if owner else None,
        "labels": json.dumps(dict(vnpu.labels)),
        "attach_dirs": json.dumps([*map(str, vnpu.attach_dirs)]),
    }


def _check_revision(vnpu: VNpu, wanted: int | None) -> None:
    if wanted not in (None, vnpu.quota.revision):
        raise RevisionChanged(
            f"quota of {vnpu.name} is at revision {vnpu.quota.revision}, not {wanted}",
            next_step="read it again and decide anew",
        )


def _changed(before: VNpu, fields: QuotaFields | MoveFields) -> VNpu:
    given: dict[str, Any] = dict(fields)
    if given.get("share", ...) is None:
        given.setdefault("fixed_share", False)  # without a share there is nothing to be fixed
    quota = replace(before.quota, **given)
    return before if quota == before.quota else replace(before, quota=replace(quota, revision=quota.revision + 1))


def _unusable(path: Path | str, error: sqlite3.Error) -> RegistryError:
    return RegistryError(
        f"registry {path} cannot be used ({error})",
        next_step="free some space there" if _is_full(error) else "move it away and start again",
    )


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
