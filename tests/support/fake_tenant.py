# SPDX-License-Identifier: Apache-2.0
"""A tenant without a device: attaches as libflexnpu.so does, says on stdout what it sees, and acknowledges grants.

Run as a program, it takes its orders from its arguments: `deaf` never acknowledges, `hog BYTES` claims memory,
`version N` says hello in page version N, `loyal` comes back to the daemon's successor. Lines on stdout are JSON.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

MAGIC = 0x4E584C46
VERSION = 5
RETURNING = 1
TURN_FREE = 1
HELLO = struct.Struct("<4I64s2I")
WELCOME = struct.Struct("<4I256s2I")
NO_SLOT = 0xFFFFFFFF
# Sections of a device, as native/page has them.
CONTROL_AT, CONTROL_SIZE, PHASE_AT = 128, 128, 84
REPORT_AT, REPORT_SIZE, DENIED_AT, WAITING_AT, WAITED_AT, LAUNCHES_AT = 1024, 192, 64, 40, 48, 72
UNGOVERNED_AT, TOTALS_AT, LAUNCHED_AT, WAITS_AT = 32, 40, 640, 720
ITERATION_AT, GRAPHS_AT, BEGUN_AT, BELL_AT, WATCHED_AT = 64, 128, 648, 44, 88
FUTEX_WAKE_ALL = (202, 1, 0x7FFFFFFF)  # the system call's number on x86-64, the operation, how many
LEDGER_SIZE, LEDGER_AT, LEDGER_DEVICE, SLOTS_AT = 36864, 64, 1088, 64


class RefusedError(Exception):
    """The daemon's welcome was none: (status, daemon's version, message)."""


def hello(vnpu: str, version: int = VERSION, flags: int = 0, slot: int = NO_SLOT) -> bytes:
    return HELLO.pack(MAGIC, version, HELLO.size, flags, vnpu.encode(), slot, 0)


def connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(path)  # blocks while the queue is full: who waits longest is next
    connection.settimeout(20)
    return connection


def receive(connection: socket.socket) -> tuple[int, list[int]]:
    """Slot and descriptors of a welcome."""
    data, fds, _, _ = socket.recv_fds(connection, WELCOME.size + 1, 4)
    if not data:
        connection.close()
        raise RefusedError(-1, 0, "hung up")
    _, their_version, _, status, message, slot, _ = WELCOME.unpack(data)
    if status != 0:
        connection.close()
        raise RefusedError(status, their_version, message.split(b"\0")[0].decode())
    return slot, fds


@dataclass
class FakeTenant:
    connection: socket.socket
    vnpu: str
    control: mmap.mmap
    report: mmap.mmap
    ledger: mmap.mmap
    slot: int
    fds: list[int] = field(default_factory=list)  # of report and ledger, to be handed back

    @classmethod
    def attach(cls, path: str, vnpu: str, version: int = VERSION, payload: bytes | None = None) -> FakeTenant:
        connection = connect(path)
        connection.send(payload or hello(vnpu, version))
        return cls.welcomed(connection, vnpu)

    @classmethod
    def welcomed(cls, connection: socket.socket, vnpu: str) -> FakeTenant:
        slot, fds = receive(connection)
        control = mmap.mmap(fds[0], 4096, mmap.MAP_SHARED, mmap.PROT_READ)
        report = mmap.mmap(fds[1], 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        ledger = mmap.mmap(fds[2], LEDGER_SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        os.close(fds[0])
        os.close(fds[3])  # of hails, which it has no use for
        return cls(connection, vnpu, control, report, ledger, slot, fds[1:3])

    def come_back(self, path: str, *, slot: int | None = None, fds: list[int] | None = None) -> FakeTenant:
        """As libflexnpu.so does when its daemon is gone and another is there: nothing is applied yet."""
        self.connection.close()
        for ordinal in range(self.device_count):
            struct.pack_into("<Q", self.report, REPORT_AT + REPORT_SIZE * ordinal + 8, 0)
        connection = connect(path)
        said = hello(self.vnpu, flags=RETURNING, slot=self.slot if slot is None else slot)
        socket.send_fds(connection, [said], self.fds if fds is None else fds)
        back = FakeTenant.welcomed(connection, self.vnpu)
        self.close()
        return back

    @property
    def device_count(self) -> int:
        return struct.unpack_from("<I", self.control, 12)[0]

    @property
    def quota(self) -> tuple[int, int, int]:
        """(number of the grant, cube cores, vector cores) of the first device"""
        return self.quota_on(0)

    def quota_on(self, ordinal: int) -> tuple[int, int, int]:
        (word,) = struct.unpack_from("<Q", self.control, CONTROL_AT + CONTROL_SIZE * ordinal + 8)
        return word >> 32, word & 0xFFFF, word >> 16 & 0xFFFF

    @property
    def is_gated(self) -> bool:
        """Whether it may launch in turns alone, on the first device."""
        return struct.unpack_from("<Q", self.control, CONTROL_AT + 24)[0] != TURN_FREE

    def physical(self, ordinal: int) -> int:
        return struct.unpack_from("<I", self.control, CONTROL_AT + CONTROL_SIZE * ordinal)[0]

    @property
    def phase(self) -> int:
        """That was declared, as page.h counts."""
        return struct.unpack_from("<I", self.control, PHASE_AT)[0]

    @property
    def watched(self) -> bool:
        return bool(struct.unpack_from("<I", self.control, WATCHED_AT)[0])

    def begin_step(self, phase: int, *, requests: int, tokens: int, context: int) -> None:
        """As libflexnpu.so tells it: rings who follows."""
        sequence = struct.unpack_from("<Q", self.report, BEGUN_AT)[0] + 2
        step = (phase, requests, tokens, context, context, 0, time.clock_gettime_ns(time.CLOCK_MONOTONIC))
        struct.pack_into("<9Q", self.report, BEGUN_AT, sequence, *step, sequence // 2)
        if self.watched:
            self._ring(REPORT_AT + BELL_AT)

    @property
    def memory_bytes(self) -> int:
        return struct.unpack_from("<Q", self.control, CONTROL_AT + 16)[0]

    def acknowledge(self, ordinal: int | None = None) -> None:
        for each in range(self.device_count) if ordinal is None else [ordinal]:
            number = self.quota_on(each)[0]
            at = REPORT_AT + REPORT_SIZE * each
            struct.pack_into("<QQ", self.report, at, number, number)
            self._ring(at + BELL_AT)

    def use_memory(self, bytes_: int, ordinal: int = 0) -> None:
        """Charged, and within the sum of all, as by one call that is over."""
        at = LEDGER_AT + LEDGER_DEVICE * ordinal
        own = at + SLOTS_AT + 16 * self.slot
        (used,) = struct.unpack_from("<Q", self.ledger, at)
        (before,) = struct.unpack_from("<Q", self.ledger, own)
        struct.pack_into("<QQ", self.ledger, at, used - before + bytes_, used - before + bytes_)
        struct.pack_into("<Q", self.ledger, own, bytes_)

    def charge_half(self, bytes_: int, ordinal: int = 0) -> None:
        """As by a call that is killed when the sum of all is up, and its own is not yet."""
        at = LEDGER_AT + LEDGER_DEVICE * ordinal
        (used,) = struct.unpack_from("<Q", self.ledger, at)
        struct.pack_into("<Q", self.ledger, at, used + bytes_)
        self.leave_in_flight(bytes_, ordinal)

    def leave_in_flight(self, bytes_: int, ordinal: int = 0) -> None:
        """As by a call in the middle of which it is stopped."""
        at = LEDGER_AT + LEDGER_DEVICE * ordinal + SLOTS_AT + 16 * self.slot + 8
        struct.pack_into("<Q", self.ledger, at, bytes_)

    def deny(self, times: int, ordinal: int = 0) -> None:
        struct.pack_into("<Q", self.report, REPORT_AT + REPORT_SIZE * ordinal + DENIED_AT, times)

    def wait(self, threads: int) -> None:
        """At the gate of the first device; nobody is woken for it."""
        struct.pack_into("<I", self.report, REPORT_AT + WAITING_AT, threads)

    def waited(self, ns: int, bucket: int | None = None) -> None:
        """So much longer; bucket: as one wait that is counted there."""
        self._add(REPORT_AT + WAITED_AT, ns)
        if bucket is not None:
            self._add(WAITS_AT + 8 * bucket, 1)

    def launch(self, kind: int, times: int, ordinal: int = 0) -> None:
        """kind: as page.h counts."""
        self._add(REPORT_AT + REPORT_SIZE * ordinal + LAUNCHES_AT + 8 * kind, times)

    def _add(self, at: int, more: int) -> None:
        (before,) = struct.unpack_from("<Q", self.report, at)
        struct.pack_into("<Q", self.report, at, before + more)

    def capture(self, index: int, ordinal: int, cube: int, vector: int, replays: int) -> None:
        word = (ordinal + 1) << 32 | vector << 16 | cube
        struct.pack_into("<QQ", self.report, GRAPHS_AT + 16 * index, word, replays)

    def iterate(self, *numbers: int) -> None:
        """sequence, phase, requests, new_tokens, context_sum, context_most, graph"""
        struct.pack_into("<7Q", self.report, ITERATION_AT, *numbers)

    def close(self) -> None:
        self.connection.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def _ring(self, at: int) -> None:
        (count,) = struct.unpack_from("<I", self.report, at)
        struct.pack_into("<I", self.report, at, (count + 1) & 0xFFFFFFFF)
        word = ctypes.c_uint32.from_buffer(self.report, at)
        number, operation, most = FUTEX_WAKE_ALL
        ctypes.CDLL(None).syscall(number, ctypes.byref(word), operation, most)


def main(orders: list[str]) -> None:
    deaf, loyal = "deaf" in orders, "loyal" in orders
    version = int(orders[orders.index("version") + 1]) if "version" in orders else VERSION
    path = os.environ["FLEXNPU_SOCKET"]
    try:
        tenant = FakeTenant.attach(path, os.environ["FLEXNPU_VNPU"], version)
    except RefusedError as refusal:
        sys.exit(f"refused: {refusal.args[2]}")
    if "hog" in orders:
        tenant.use_memory(int(orders[orders.index("hog") + 1]))
    told = None
    while True:
        if not deaf:
            tenant.acknowledge()
        if tenant.quota != told:
            told = tenant.quota
            number, cube, vector = told
            say({"pid": os.getpid(), "revision": number, "cube": cube, "vector": vector, "slot": tenant.slot})
        time.sleep(0.002)
        if loyal and is_gone(tenant.connection):
            tenant = again(tenant, path)
            told = None


def is_gone(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def again(tenant: FakeTenant, path: str) -> FakeTenant:
    while True:
        time.sleep(0.05)
        try:
            return tenant.come_back(path)
        except OSError:
            continue


def say(line: dict[str, int]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
