# SPDX-License-Identifier: Apache-2.0
"""The daemon is killed at random in a storm of changes: the registry is whole, and has all that was promised."""

from __future__ import annotations

import random
import sqlite3
import threading
import time

from local_node import GIB, Node

from flexnpu.errors import FlexNpuError

ROUNDS = 20


class Storm:
    """Changes without end; `promised`: what the daemon has confirmed, `asked`: what it may have done beyond that."""

    def __init__(self, node: Node, seed: int) -> None:
        self._client = node.client()
        self._chance = random.Random(seed)
        self.changes = 0
        self.promised: dict[str, int] = {}  # revision by name
        self.asked: str | None = None
        self._thread = threading.Thread(target=self._blow)

    def start(self) -> None:
        self.promised = {vnpu.name: vnpu.revision for vnpu in self._client.vnpus()}
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        self._client.close()

    def _blow(self) -> None:
        try:
            while True:
                self.asked = f"v{self._chance.randrange(6)}"
                self._change(self.asked)
                self.asked = None
                self.changes += 1
        except FlexNpuError:
            return

    def _change(self, name: str) -> None:
        cores = self._chance.randint(1, 4)
        if name not in self.promised:
            share = self._chance.choice((None, 10))
            device = self._chance.choice((0, [0, 1], [1, 0]))
            made = self._client.create_vnpu(name, cores=cores, memory_bytes=GIB, device=device, share_percent=share)
            self.promised[name] = made.revision
        elif self._chance.random() < 0.2:
            self._client.delete_vnpu(name)
            del self.promised[name]
        else:
            limits = {"priority": self._chance.randrange(8), "burst_cores": self._chance.randint(4, 8)}
            self.promised[name] = self._client.set_quota(name, cores=cores, **limits).desired_revision


def check_file(node: Node) -> None:
    with sqlite3.connect(node.root / "registry.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()


def test_a_daemon_that_is_killed_in_a_storm_has_kept_what_it_confirmed(quiet_node: Node):
    chance, changes = random.Random(5), 0
    for round_ in range(ROUNDS):
        quiet_node.start("--devices", "2")
        storm = Storm(quiet_node, round_)
        storm.start()
        time.sleep(chance.uniform(0, 0.2))
        quiet_node.kill()
        storm.join()
        changes += storm.changes
        check_file(quiet_node)
        quiet_node.start("--devices", "2")
        check_promises(quiet_node, storm)
        quiet_node.kill()
    assert changes > ROUNDS


def check_promises(node: Node, storm: Storm) -> None:
    client = node.client()
    there = {vnpu.name: vnpu for vnpu in client.vnpus()}
    sure = set(storm.promised) - {storm.asked}
    assert sure <= set(there) <= sure | {storm.asked}
    for name, vnpu in there.items():
        assert vnpu.revision - storm.promised.get(name, 1) in ((0, 1) if name == storm.asked else (0,))
        assert vnpu.applied
        assert vnpu.burst_cores is not None and vnpu.cores <= vnpu.burst_cores <= 24
    for device in client.devices():
        here = [vnpu for vnpu in there.values() if device.index in vnpu.devices]
        full = sum(vnpu.cores for vnpu in here if vnpu.share_percent is None)
        largest = max((vnpu.cores for vnpu in here if vnpu.share_percent is not None), default=0)
        assert full + largest == 24 - device.cores_free <= 24
    client.close()
