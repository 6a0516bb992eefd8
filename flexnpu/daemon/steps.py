# SPDX-License-Identifier: Apache-2.0
"""Steps of serving engines as they begin, for those who follow them. Without a follower nobody is woken."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from flexnpu import _native
from flexnpu.daemon.host import PHASES, DeviceHost, Resident, Tenant
from flexnpu.errors import Refused
from flexnpu.tenancy import StepView

MOST_READERS = 32


@dataclass(eq=False, slots=True)
class _Reader:
    residents: Sequence[Resident]
    news: asyncio.Event = field(default_factory=asyncio.Event)
    told: dict[tuple[int, int, int], tuple[int, int, int]] = field(default_factory=dict)  # by tenant

    def fresh(self) -> Iterator[StepView]:
        """Of each tenant its newest step, where that was not told yet."""
        for resident in self.residents:
            for tenant in [*resident.tenants.values()]:
                if tenant.report is None:
                    continue
                begun, ended = tenant.report.begun(), tenant.report.iteration()
                name = (resident.id, tenant.lease.slot, tenant.pid)
                known = (begun.steps, begun.at_ns, ended.steps)
                if begun.steps and self.told.get(name) != known:
                    self.told[name] = known
                    yield _view(resident, tenant, begun, ended)


class Steps:
    """Who follows which vNPUs."""

    def __init__(self) -> None:
        self._readers: set[_Reader] = set()
        self._watched: Counter[int] = Counter()
        self._closed = False

    def close(self) -> None:
        """Readers end."""
        self._closed = True
        for reader in self._readers:
            reader.news.set()

    def heard(self, host: DeviceHost) -> None:
        """The arbiter of that device has news."""
        for reader in self._readers:
            if any(resident.hosts[0] is host for resident in reader.residents):
                reader.news.set()

    def follow(self, residents: Sequence[Resident], idle_s: float) -> AsyncIterator[StepView | None]:
        """The newest step of each tenant, then each as it begins; steps that begin while one is told are told as their
        newest. None whenever nothing came for so long. Ends with the daemon, or with the first of the vNPUs, since one
        that is made anew is another."""
        if len(self._readers) >= MOST_READERS:
            raise Refused(f"{MOST_READERS} readers follow steps already", next_step="let one of them end")
        return self._follow(_Reader(residents), idle_s)

    async def _follow(self, reader: _Reader, idle_s: float) -> AsyncIterator[StepView | None]:
        self._readers.add(reader)
        for resident in reader.residents:
            self._watch(resident, 1)
        try:
            while not self._closed and not any(resident.deleted for resident in reader.residents):
                reader.news.clear()
                for step in reader.fresh():
                    yield step
                try:
                    await asyncio.wait_for(reader.news.wait(), idle_s)
                except TimeoutError:
                    yield None
        finally:
            self._readers.discard(reader)
            for resident in reader.residents:
                self._watch(resident, -1)

    def _watch(self, resident: Resident, more: int) -> None:
        before = self._watched[resident.id] > 0
        self._watched[resident.id] += more
        after = self._watched[resident.id] > 0
        if before != after and not resident.deleted:
            resident.hosts[0].arbiter.watch(resident.id, after)
        if not after:
            del self._watched[resident.id]


def _view(
    resident: Resident, tenant: Tenant, begun: _native.IterationReport, ended: _native.IterationReport
) -> StepView:
    return StepView(
        vnpu=resident.name,
        pid=tenant.pid,
        number=begun.steps,
        ended=ended.steps,
        phase=PHASES[begun.phase] if begun.phase < len(PHASES) else "unknown",
        requests=begun.requests,
        new_tokens=begun.new_tokens,
        context_sum=begun.context_sum,
        context_most=begun.context_most,
        graph=begun.graph != 0,
        at_s=begun.at_ns / 1e9,
    )
