# SPDX-License-Identifier: Apache-2.0
"""What the API needs from the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Annotated, Protocol, Unpack

from fastapi import Depends, Request

from flexnpu.tenancy import (
    AppliedView,
    DeviceView,
    EventView,
    Move,
    NodeCounts,
    QuotaFields,
    StepView,
    TenantView,
    VNpu,
    VNpuCounts,
    VNpuView,
)


class NodeService(Protocol):
    """The node; raises flexnpu.errors."""

    def check_ready(self) -> None:
        """Unavailable when it cannot do its work."""

    def devices(self) -> Sequence[DeviceView]: ...

    def device(self, index: int) -> DeviceView: ...

    def vnpus(self, after: int = 0, most: int | None = None) -> Sequence[VNpuView]: ...

    def vnpu(self, name: str) -> VNpuView: ...

    def id_of(self, name: str) -> int: ...

    def name_of(self, id_: int) -> str: ...

    def tenants(self, vnpu: str | None = None) -> Sequence[TenantView]:
        """Of that vNPU, which need not be there, or of all."""

    def counts(self) -> NodeCounts: ...

    def counted(self) -> Iterator[tuple[VNpuView, VNpuCounts]]:
        """Each vNPU as it is when it is asked for."""

    def create(self, wanted: VNpu, owner_pid: int | None) -> VNpuView: ...

    def delete(self, name: str, *, if_revision: int | None, force: bool) -> None: ...

    def set_quota(self, name: str, *, if_revision: int | None, **fields: Unpack[QuotaFields]) -> Mapping[str, int]: ...

    def set_phase(self, name: str, phase: str | None, *, if_revision: int | None) -> Mapping[str, int]: ...

    def set_labels(self, name: str, labels: Mapping[str, str], *, if_revision: int | None) -> None: ...

    def rebalance(self, moves: Sequence[Move], *, dry_run: bool) -> Mapping[str, int]: ...

    async def applied(self, revisions: Mapping[str, int], within_s: float) -> AppliedView: ...

    def publish(self, kind: str, text: str) -> None: ...

    def events(self, after: int | None, idle_s: float) -> AsyncIterator[list[EventView]]: ...

    def steps(self, names: Sequence[str], idle_s: float) -> AsyncIterator[list[StepView]]: ...


async def _node(request: Request) -> NodeService:
    node: NodeService = request.app.state.node
    return node


Node = Annotated[NodeService, Depends(_node)]
