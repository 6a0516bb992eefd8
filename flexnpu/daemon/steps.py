# SPDX-License-Identifier: Apache-2.0
"""Steps of serving engines as they begin, for those who follow them. Without a follower nobody is woken."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing

from flexnpu.daemon import views
from flexnpu.daemon.host import Resident
from flexnpu.daemon.readers import Readers
from flexnpu.tenancy import StepView


class Steps:
    """Who follows which vNPUs."""

    def __init__(self) -> None:
        self._readers = Readers("steps")
        self._watched: Counter[int] = Counter()

    def close(self) -> None:
        """Readers end."""
        self._readers.close()

    def heard(self) -> None:
        """An arbiter has news."""
        self._readers.wake()

    def follow(self, residents: Sequence[Resident], idle_s: float) -> AsyncIterator[list[StepView]]:
        """The newest step of each tenant, then each as it begins; steps that begin while one is told are told as their
        newest. None of them whenever nothing came for so long. Ends with the daemon, or with the first of the vNPUs,
        since one that is made anew is another."""
        newest = _Newest(residents)
        told = self._readers.follow(newest.fresh, idle_s, lambda: any(each.deleted for each in residents))
        return self._watching(residents, told)

    async def _watching(
        self, residents: Sequence[Resident], told: AsyncGenerator[list[StepView], None]
    ) -> AsyncIterator[list[StepView]]:
        for resident in residents:
            self._watch(resident, 1)
        try:
            async with aclosing(told):
                async for steps in told:
                    yield steps
        finally:
            for resident in residents:
                self._watch(resident, -1)

    def _watch(self, resident: Resident, more: int) -> None:
        before = self._watched[resident.id] > 0
        self._watched[resident.id] += more
        after = self._watched[resident.id] > 0
        if before != after and not resident.deleted:
            resident.hosts[0].arbiter.watch(resident.id, after)
        if not after:
            del self._watched[resident.id]


class _Newest:
    """Of each tenant the newest step, where that was not told yet."""

    def __init__(self, residents: Sequence[Resident]) -> None:
        self._residents = residents
        self._told: dict[tuple[int, int, int], tuple[int, int, int]] = {}  # by tenant

    def fresh(self) -> Iterator[StepView]:
        for resident in self._residents:
            for tenant in [*resident.tenants.values()]:
                if tenant.report is None:
                    continue
                begun, ended = tenant.report.begun(), tenant.report.iteration()
                name = (resident.id, tenant.lease.slot, tenant.pid)
                known = (begun.steps, begun.at_ns, ended.steps)
                if begun.steps and self._told.get(name) != known:
                    self._told[name] = known
                    yield views.step(tenant, begun, ended.steps)
