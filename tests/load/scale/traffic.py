# SPDX-License-Identifier: Apache-2.0
"""Mixed reads and writes at a steady rate, whatever the answers take: an answer's time counts from when it was due."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

from scale.model import Model
from scale.wire import Answer, Gone, Wire

GIB = 2**30
CONNECTIONS = 64
HOT = 24  # vNPUs that half of the writes are about, so that writers meet
# What comes how often, of a hundred.
MIX = {"vnpu": 45, "quota": 20, "device": 5, "page": 5, "tenants": 5, "write": 18, "move": 2}
_PLANNED = {200, 202, 412}


class Traffic:
    def __init__(self, path: str, names: Sequence[str], pairs: Sequence[tuple[str, str]], model: Model) -> None:
        """pairs: of vNPUs between which a core can move."""
        self._names, self._pairs, self._model = names, pairs, model
        self._path = path
        self._random = random.Random(1)
        self._free: asyncio.Queue[Wire] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            self._free.put_nowait(Wire(path))
        self._kinds = random.Random(2).choices([*MIX], weights=[*MIX.values()], k=10_000)
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.gone = 0
        self.faults: list[str] = []

    async def run(self, rate: float, seconds: float) -> None:
        """Returns when all is answered."""
        begin = time.perf_counter()
        under_way: set[asyncio.Task[None]] = set()
        for number in range(round(rate * seconds)):
            due = begin + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self._one(self._kinds[number % len(self._kinds)], due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _one(self, kind: str, due: float) -> None:
        wire = await self._free.get()
        try:
            answer = await getattr(self, f"_{kind}")(wire)
        except Gone:
            self.gone += 1
            await asyncio.sleep(0.05)
        else:
            self.seconds.append(time.perf_counter() - due)
            self.statuses[answer.status] += 1
            if answer.status not in _PLANNED:
                self.faults.append(f"{kind}: {answer.status} {answer.body[:200]!r}")
        finally:
            self._free.put_nowait(wire)

    def _name(self, *, hot: bool = False) -> str:
        return self._names[self._random.randrange(HOT if hot else len(self._names))]

    async def _vnpu(self, wire: Wire) -> Answer:
        return await wire.ask("GET", f"/api/v1/vnpus/{self._name()}")

    async def _quota(self, wire: Wire) -> Answer:
        return await wire.ask("GET", f"/api/v1/vnpus/{self._name()}/quota")

    async def _device(self, wire: Wire) -> Answer:
        return await wire.ask("GET", f"/api/v1/devices/{self._random.randrange(16)}")

    async def _page(self, wire: Wire) -> Answer:
        return await wire.ask("GET", "/api/v1/vnpus?limit=20")

    async def _tenants(self, wire: Wire) -> Answer:
        return await wire.ask("GET", f"/api/v1/tenants?vnpu={self._name()}")

    async def _write(self, wire: Wire) -> Answer:
        """Read the quota, change its memory under If-Match; who comes too late is refused, and tries no more."""
        name = self._name(hot=self._random.random() < 0.5)
        read = await wire.ask("GET", f"/api/v1/vnpus/{name}/quota")
        if read.status != 200:
            return read
        memory = GIB // 2 + 4096 * self._random.randrange(1 << 17)  # as many fit a device as there are on one
        target, match = f"/api/v1/vnpus/{name}/quota", {"if-match": read.headers["etag"]}
        try:
            answer = await wire.ask("PATCH", target, {"memory_bytes": memory}, match)
        except Gone:
            self._model.unanswered(name, memory)
            raise
        if answer.status in (200, 202):
            self._model.acknowledged(name, answer.json()["desired_revision"], memory)
        return answer

    async def _move(self, wire: Wire) -> Answer:
        """A core from one vNPU to another, or back."""
        giver, taker = self._random.choice(self._pairs)
        cores = self._random.choice(((1, 2), (2, 1)))
        moves = [{"vnpu": giver, "cores": cores[0]}, {"vnpu": taker, "cores": cores[1]}]
        try:
            answer = await wire.ask("POST", "/api/v1/rebalances", {"moves": moves})
        except Gone:
            for name in (giver, taker):
                self._model.unanswered(name)
            raise
        if answer.status in (200, 202):
            for name, revision in answer.json()["revisions"].items():
                self._model.acknowledged(name, revision)
        return answer
