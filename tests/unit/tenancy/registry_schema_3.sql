-- SPDX-License-Identifier: Apache-2.0
-- What FlexNPU with registry schema 3 had in its file (sqlite3 registry.sqlite .dump).
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
    owner_born TEXT
) STRICT;
INSERT INTO "vnpu" VALUES(1,'prefill','0',24,1073741824,2,NULL,NULL,6000,0,0,'prefill',NULL,NULL);
INSERT INTO "vnpu" VALUES(2,'wide','0,1',4,1073741824,1,8,NULL,NULL,0,0,NULL,42,'boot:7');
CREATE TABLE lease (
    vnpu INTEGER NOT NULL REFERENCES vnpu (id) ON DELETE CASCADE,
    slot INTEGER NOT NULL, -- in the vNPU's ledger
    pid INTEGER NOT NULL,
    born TEXT NOT NULL,
    PRIMARY KEY (vnpu, slot)
) STRICT;
INSERT INTO "lease" VALUES(2,0,43,'boot:8');
CREATE TABLE granted (
    vnpu INTEGER NOT NULL REFERENCES vnpu (id) ON DELETE CASCADE,
    device INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    cores INTEGER NOT NULL,
    most_cores INTEGER NOT NULL, -- with what others may have lent meanwhile
    share INTEGER, -- as in vnpu
    PRIMARY KEY (vnpu, device, revision)
) STRICT;
INSERT INTO "granted" VALUES(1,0,2,24,24,6000);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('vnpu',2);
PRAGMA user_version = 3;
