# SPDX-License-Identifier: Apache-2.0
"""Clients of the event stream, each of which checks that it is told of every event once, in order."""

from __future__ import annotations

import asyncio

from scale.wire import Gone, Wire


class Listener:
    def __init__(self, path: str) -> None:
        self._path = path
        self.after: int | None = None  # the event that was heard last
        self.heard = self.resyncs = 0
        self.faults: list[str] = []

    async def run(self) -> None:
        """For ever; a daemon that went away is asked again from the last event on."""
        while True:
            try:
                async for block in Wire(self._path).events("/api/v1/events", self.after):
                    self._hear(block)
            except Gone:
                pass
            await asyncio.sleep(0.05)

    def _hear(self, block: bytes) -> None:
        told = dict(line.split(b": ", 1) for line in block.splitlines() if not line.startswith(b":"))
        if b"id" not in told:
            return
        id_ = int(told[b"id"])
        if told[b"event"] == b"resync":
            self.resyncs += 1
        elif self.after is not None and id_ != self.after + 1:
            self.faults.append(f"event {id_} came after {self.after}")
        self.after = id_
        self.heard += 1
