# SPDX-License-Identifier: Apache-2.0
"""The registry's tables, and how those of an earlier schema become them."""

from __future__ import annotations

import sqlite3

SCHEMA_VERSION = 4

_TABLES = """
CREATE TABLE vnpu (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    devices TEXT NOT NULL, -- indexes, joined by commas
    cores INTEGER NOT NULL CHECK (cores > 0),
    memory_bytes INTEGER NOT NULL CHECK (memory_bytes > 0),
    revision INTEGER NOT NULL,
    burst_cores INTEGER CHECK (burst_cores >= cores),
    vector_cores INTEGER CHECK (vector_cores > 0),
    share INTEGER CHECK (share BETWEEN 1 AND 10000),
    fixed_share INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL DEFAULT 0,
    phase TEXT,
    owner_pid INTEGER,
    owner_born TEXT,
    labels TEXT NOT NULL DEFAULT '{}', -- JSON: what others know it by
    attach_dirs TEXT NOT NULL DEFAULT '[]' -- JSON: paths
) STRICT;
CREATE TABLE lease (
    vnpu INTEGER NOT NULL REFERENCES vnpu (id) ON DELETE CASCADE,
    slot INTEGER NOT NULL, -- in the vNPU's ledger
    pid INTEGER NOT NULL,
    born TEXT NOT NULL,
    PRIMARY KEY (vnpu, slot)
) STRICT;
CREATE TABLE granted (
    vnpu INTEGER NOT NULL REFERENCES vnpu (id) ON DELETE CASCADE,
    device INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    cores INTEGER NOT NULL,
    most_cores INTEGER NOT NULL, -- with what others may have lent meanwhile
    share INTEGER, -- as in vnpu
    PRIMARY KEY (vnpu, device, revision)
) STRICT;
"""

# Renamed, made anew and filled, within the transaction of connect(): so an old file is either old or new.
_FROM_1 = f"""
ALTER TABLE vnpu RENAME TO old_vnpu;
ALTER TABLE lease RENAME TO old_lease;
ALTER TABLE granted RENAME TO old_granted;
{_TABLES}
INSERT INTO vnpu (id, name, devices, cores, memory_bytes, revision, phase, owner_pid, owner_born)
    SELECT id, name, CAST(device AS TEXT), cores, memory_bytes, revision, phase, owner_pid, owner_born FROM old_vnpu;
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'old_vnpu') WHERE name = 'vnpu';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'vnpu', seq FROM sqlite_sequence
    WHERE name = 'old_vnpu' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'vnpu');
INSERT INTO lease
    SELECT vnpu, ROW_NUMBER() OVER (PARTITION BY vnpu ORDER BY pid, born) - 1, pid, born FROM old_lease;
INSERT INTO granted
    SELECT vnpu, old_vnpu.device, old_granted.revision, old_granted.cores, old_granted.cores, NULL
    FROM old_granted JOIN old_vnpu ON old_vnpu.id = old_granted.vnpu;
DROP TABLE old_granted;
DROP TABLE old_lease;
DROP TABLE old_vnpu;
"""

_FROM_3 = """
ALTER TABLE vnpu ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
ALTER TABLE vnpu ADD COLUMN attach_dirs TEXT NOT NULL DEFAULT '[]';
"""

# No quota that was granted with a share could lose it, or get one, but by a change that a restart had to forget.
_FROM_2 = f"""
ALTER TABLE granted ADD COLUMN share INTEGER;
UPDATE granted SET share = (SELECT share FROM vnpu WHERE vnpu.id = granted.vnpu);
{_FROM_3}"""


def bring_up(db: sqlite3.Connection, version: int) -> None:
    """From no table at all (0) or an earlier schema to this one, in one transaction."""
    steps = {0: _TABLES, 1: _FROM_1, 2: _FROM_2, 3: _FROM_3}
    # A rename must leave the references of other tables as they are, and no row may be deleted with its parent.
    db.execute("PRAGMA foreign_keys = OFF")
    try:
        db.executescript(f"BEGIN IMMEDIATE; {steps[version]} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    finally:
        db.execute("PRAGMA foreign_keys = ON")
