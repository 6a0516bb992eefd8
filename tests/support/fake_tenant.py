# SPDX-License-Identifier: Apache-2.0
"""A tenant without a device: attaches as libflexnpu.so does, says on stdout what it sees, and acknowledges revisions.

Run as a program, it takes its orders from its arguments: `deaf` never acknowledges, `hog BYTES` claims memory,
`version N` says hello in page version N. Lines on stdout are JSON.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
import sys
import time
from dataclasses import dataclass

MAGIC = 0x4E584C46
HELLO = struct.Struct("<4I64s2I")
WELCOME = struct.Struct("<4I256s2I")
NO_SLOT = 0xFFFFFFFF
# Sections of the first device, as native/page has them.
QUOTA_AT, MEMORY_AT = 128 + 8, 128 + 16
SEEN_AT = 1024
LEDGER_SIZE, USED_AT, SLOTS_AT = 36864, 64, 128


class RefusedError(Exception):
    """The daemon's welcome was none: (status, daemon's version, message)."""


@dataclass
class FakeTenant:
    connection: socket.socket
    control: mmap.mmap
    report: mmap.mmap
    ledger: mmap.mmap
    slot: int

    @classmethod
    def attach(cls, path: str, vnpu: str, version: int = 2, payload: bytes | None = None) -> FakeTenant:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(20)
        connection.connect(path)
        connection.send(payload or HELLO.pack(MAGIC, version, HELLO.size, 0, vnpu.encode(), NO_SLOT, 0))
        data, fds, _, _ = socket.recv_fds(connection, WELCOME.size + 1, 3)
        _, their_version, _, status, message, slot, _ = WELCOME.unpack(data)
        if status != 0:
            connection.close()
            raise RefusedError(status, their_version, message.split(b"\0")[0].decode())
        control = mmap.mmap(fds[0], 4096, mmap.MAP_SHARED, mmap.PROT_READ)
        report = mmap.mmap(fds[1], 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        ledger = mmap.mmap(fds[2], LEDGER_SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        for fd in fds:
            os.close(fd)
        return cls(connection, control, report, ledger, slot)

    @property
    def quota(self) -> tuple[int, int, int]:
        """(number of the grant, cube cores, vector cores)"""
        (word,) = struct.unpack_from("<Q", self.control, QUOTA_AT)
        return word >> 32, word & 0xFFFF, word >> 16 & 0xFFFF

    @property
    def memory_bytes(self) -> int:
        return struct.unpack_from("<Q", self.control, MEMORY_AT)[0]

    def acknowledge(self) -> None:
        struct.pack_into("<QQ", self.report, SEEN_AT, self.quota[0], self.quota[0])

    def use_memory(self, bytes_: int) -> None:
        struct.pack_into("<Q", self.ledger, USED_AT, bytes_)
        struct.pack_into("<Q", self.ledger, SLOTS_AT + 16 * self.slot, bytes_)

    def close(self) -> None:
        self.connection.close()


def main(orders: list[str]) -> None:
    deaf = "deaf" in orders
    version = int(orders[orders.index("version") + 1]) if "version" in orders else 2
    try:
        tenant = FakeTenant.attach(os.environ["FLEXNPU_SOCKET"], os.environ["FLEXNPU_VNPU"], version)
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
            revision, cube, vector = told
            print(json.dumps({"pid": os.getpid(), "revision": revision, "cube": cube, "vector": vector}), flush=True)
        time.sleep(0.002)


if __name__ == "__main__":
    main(sys.argv[1:])
