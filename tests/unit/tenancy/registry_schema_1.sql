-- SPDX-License-Identifier: Apache-2.0
-- What FlexNPU with registry schema 1 had in its file (sqlite3 registry.sqlite .dump, with AUTOINCREMENT's counter).
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
INSERT INTO vnpu VALUES (3, 'prefill', 0, 16, 8589934592, 5, 'prefill', 42, 'boot:7');
INSERT INTO vnpu VALUES (7, 'decode', 1, 8, 4294967296, 1, NULL, NULL, NULL);
UPDATE sqlite_sequence SET seq = 9 WHERE name = 'vnpu';
INSERT INTO lease VALUES (3, 42, 'boot:7'), (3, 43, 'boot:8'), (7, 50, 'boot:9');
INSERT INTO granted VALUES (3, 4, 18), (3, 5, 16), (7, 1, 8);
PRAGMA user_version = 1;
