# SPDX-License-Identifier: Apache-2.0
"""Real tenants on the software NPU and a real daemon, all of which may die at any moment; and what must hold then."""

from __future__ import annotations

import mmap
import os
import random
import re
import signal
import sqlite3
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local_node import GIB, Node, Program, eventually

from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.errors import DaemonError
from flexnpu.paths import interposer

RESTLESS = Path(__file__).parents[2] / "build/wheel/tests/native/chaos/restless"
OPTIONS = SoftwareOptions(devices=1, clock="paced", math="skip")
TENANTS_EACH = 2
# Two with cores of their own, four that share the others in time, one of them always first: 4 of 24 are free.
QUOTAS: dict[str, dict[str, int]] = {
    **{f"own{i}": {"cores": 4} for i in range(2)},
    **{f"turns{i}": {"cores": 12, "share_percent": 20, "priority": i // 3, "fixed_share": i == 3} for i in range(4)},
}
FREE = 24 - 2 * 4 - 12
STATUS = struct.Struct("<28Q")
PAUSE_AT, FORGET_AT = 8 * 4, 8 * 5


@dataclass
class Status:
    """As tests/native/chaos/restless.cc keeps it."""

    held: int
    operators: int
    longest_ns: int
    paused: int
    refused: int
    failed: int
    buckets: Sequence[int]


class Restless:
    """One of the tenants."""

    def __init__(self, node: Node, vnpu: str, number: int) -> None:
        self.vnpu = vnpu
        file = node.root.parent / f"status{number}"
        file.write_bytes(bytes(mmap.PAGESIZE))
        with file.open("r+b") as opened:
            self._status = mmap.mmap(opened.fileno(), mmap.PAGESIZE)
        self._node = node
        self.log = node.root.parent / f"log{number}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([RESTLESS, file, str(number)], env=self.environment(vnpu), stderr=log)

    def environment(self, vnpu: str) -> dict[str, str]:
        """Of a program on a vNPU."""
        env = {**os.environ, **software_environment(OPTIONS, self._node.root / "softnpu")}
        return env | {"LD_PRELOAD": str(interposer()), "FLEXNPU_SOCKET": self._node.attach_socket, "FLEXNPU_VNPU": vnpu}

    @property
    def pid(self) -> int:
        return self.process.pid

    def status(self) -> Status:
        held, operators, longest, paused, _, _, refused, failed, *buckets = STATUS.unpack_from(self._status)
        return Status(held, operators, longest, paused, refused, failed, buckets)

    def pause(self, on: bool) -> None:
        struct.pack_into("<Q", self._status, PAUSE_AT, int(on))

    def forget(self) -> None:
        """How long it has waited until now."""
        struct.pack_into("<Q", self._status, FORGET_AT, 1)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def was_turned_away(self) -> bool:
        """It was about to become a tenant when the daemon died: one line says so, and whoever starts it tries again."""
        if self.process.poll() != 1 or self.status().operators > 0:
            return False
        return bool(re.fullmatch(r"flexnpu: error: this program gets no device: .*\n", self.log.read_text()))

    def check(self) -> None:
        assert self.process.poll() is None, (self.vnpu, self.process.returncode, self.log.read_text())


@dataclass
class Tally:
    """What came of it."""

    rounds: dict[str, int] = field(default_factory=dict)
    longest_ms: list[float] = field(default_factory=list)  # of each survivor between two looks
    back_s: list[float] = field(default_factory=list)  # until all were back, from the new daemon's first answer
    buckets: list[int] = field(default_factory=lambda: [0] * 20)

    def __str__(self) -> str:
        counts = ", ".join(f"<{0.1 * 2**i:g} ms: {n}" for i, n in enumerate(self.buckets) if n)
        longest, back = sorted(self.longest_ms), sorted(self.back_s or [0.0])
        return (
            f"{self.rounds}\nwaits of batches: {counts}\nlongest of a survivor: median {longest[len(longest) // 2]:.1f}"
            f" ms, most {longest[-1]:.1f} ms\nall back after a restart: median {back[len(back) // 2]:.2f} s,"
            f" most {back[-1]:.2f} s"
        )


class Chaos:
    """A node under restless tenants, and a hand that kills."""

    def __init__(self, node: Node, seed: int) -> None:
        self.node = node
        self.chance = random.Random(seed)
        self.tally = Tally()
        self.tenants: list[Restless] = []
        self._started = 0
        self._daemon_dead = self._restarted = False
        self._client = node.client()
        for name, quota in QUOTAS.items():
            self._client.create_vnpu(name, memory_bytes=2 * GIB, **quota)  # type: ignore[arg-type]
        self.fill()

    # --- what happens

    def fill(self) -> None:
        """As many tenants as there ought to be."""
        for name in QUOTAS:
            for _ in range(TENANTS_EACH - sum(each.vnpu == name for each in self.tenants)):
                self._started += 1
                self.tenants.append(Restless(self.node, name, self._started))

    def round(self) -> None:
        time.sleep(self.chance.uniform(0, 0.2))
        what = self.chance.choices(("tenant", "daemon", "both", "stop"), (45, 15, 15, 25))[0]
        self.tally.rounds[what] = self.tally.rounds.get(what, 0) + 1
        if what in ("tenant", "both"):
            self.kill_one()
        if what in ("daemon", "both"):
            self.kill_daemon()
        if what == "stop":
            self.stop_one()
        self.go_on()

    def kill_one(self) -> None:
        if self.tenants:
            self.tenants.pop(self.chance.randrange(len(self.tenants))).kill()

    def kill_daemon(self) -> None:
        """In its start, too. Another is started at once and not waited for."""
        self.node.kill()
        self.check_registry()
        self.node.daemon = self.launch()
        self._daemon_dead = self._restarted = True

    def launch(self) -> Program:
        return self.node.launch("--clock", OPTIONS.clock, "--math", OPTIONS.math)

    def stop_one(self) -> None:
        tenant = self.chance.choice(self.tenants)
        tenant.process.send_signal(signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.01, 0.1))
        tenant.forget()
        tenant.process.send_signal(signal.SIGCONT)

    def go_on(self) -> None:
        if not self._daemon_dead or self.answers():
            self._daemon_dead = False
            self.fill()

    def answers(self) -> bool:
        assert self.node.daemon is not None
        assert self.node.daemon.process.poll() is None, self.node.daemon.end()[1]
        try:
            return bool(self._client.version())
        except DaemonError:
            return False

    # --- what must hold

    def check(self) -> None:
        eventually(self.answers)
        self._daemon_dead = False
        began = time.monotonic()
        eventually(lambda: self.present() >= {each.pid for each in self.tenants}, 20)
        if self._restarted:
            self.tally.back_s.append(time.monotonic() - began)
            self._restarted = False
        self.fill()  # the daemon lives from here on
        eventually(lambda: self.present() == {each.pid for each in self.tenants}, 20)
        self.check_memory()
        self.check_cores()
        self.check_progress()

    def present(self) -> set[int]:
        self.tenants = [each for each in self.tenants if not each.was_turned_away()]
        for each in self.tenants:
            each.check()
        return {each.pid for each in self._client.tenants() if each.present}

    def check_memory(self) -> None:
        """What the daemon counts is what they say that they have; nothing of the dead."""
        for each in self.tenants:
            each.pause(True)
        eventually(lambda: all(each.status().paused for each in self.tenants))
        held = {each.pid: each.status().held for each in self.tenants}
        of = {name: sum(held[each.pid] for each in self.tenants if each.vnpu == name) for name in QUOTAS}
        try:
            eventually(lambda: {each.name: each.use[0].memory_used for each in self._client.vnpus()} == of, 10)
            eventually(lambda: {each.pid: each.memory_used for each in self._client.tenants()} == held, 10)
        except AssertionError:
            print(of, self._client.vnpus(), held, self._client.tenants())
            raise
        for each in self.tenants:
            each.pause(False)
            each.forget()

    def check_cores(self) -> None:
        def all_have_theirs() -> bool:
            cores = {each.name: (each.granted_cores, each.use[0].held_cores) for each in self._client.vnpus()}
            return cores == {name: (quota["cores"], quota["cores"]) for name, quota in QUOTAS.items()}

        eventually(all_have_theirs, 10)
        assert self._client.devices()[0].cores_free == FREE

    def check_progress(self) -> None:
        before = {each.pid: each.status().operators for each in self.tenants}
        eventually(lambda: all(each.status().operators > before[each.pid] for each in self.tenants), 10)
        assert all(each.status().failed == each.status().refused == 0 for each in self.tenants)

    def look(self) -> None:
        """How long the survivors have waited since the last look."""
        for each in self.tenants:
            self.tally.longest_ms.append(each.status().longest_ns / 1e6)
            each.forget()

    def check_registry(self) -> None:
        with sqlite3.connect(self.node.root / "registry.sqlite") as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        db.close()

    # --- the end

    def end(self) -> None:
        """Everybody goes, and nothing stays."""
        for each in self.tenants:
            self.tally.buckets = [a + b for a, b in zip(self.tally.buckets, each.status().buckets, strict=True)]
        self.kill_all()
        eventually(lambda: self._client.tenants() == [])
        for each in self._client.vnpus():
            assert each.use[0].memory_used == 0
            self._client.delete_vnpu(each.name)
        assert self._client.devices()[0].cores_free == 24
        assert self.node.daemon is not None
        eventually(lambda: memfds(self.node.daemon.pid) == [])
        self._client.close()
        assert self.node.daemon.kill(signal.SIGTERM) == 0
        assert not self.node.root.exists(), list(self.node.root.iterdir())

    def kill_all(self) -> None:
        while self.tenants:
            self.tenants.pop().kill()


def memfds(pid: int) -> list[str]:
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(fd.readlink()))
        except OSError:
            continue  # closed meanwhile
    return [each for each in found if "memfd:" in each and "flexnpu-hails" not in each]  # those are of no tenant
