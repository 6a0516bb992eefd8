# SPDX-License-Identifier: Apache-2.0
"""What the API needs from the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Protocol, Unpack

from fastapi import Depends, Request

from flexnpu.tenancy import AppliedView, DeviceView, EventView, Move, QuotaFields, StepView, TenantView, VNpu, VNpuView


class NodeService(Protocol):
    """The node; raises flexnpu.errors."""

    def devices(self) -> Sequence[DeviceView]: ...

    def vnpus(self) -> Sequence[VNpuView]: ...

    def vnpu(self, name: str) -> VNpuView: ...

    def tenants(self) -> Sequence[TenantView]: ...

    def create(self, wanted: VNpu, owner_pid: int | None) -> VNpuView: ...

    def delete(self, name: str, *, force: bool) -> None: ...

    def set_quota(self, name: str, *, if_revision: int | None, **fields: Unpack[QuotaFields]) -> Mapping[str, int]: ...

    def rebalance(self, moves: Sequence[Move]) -> Mapping[str, int]: ...

    async def applied(self, revisions: Mapping[str, int], within_s: float) -> AppliedView: ...

    def events(self, after: int, idle_s: float) -> AsyncIterator[EventView | None]: ...

    def steps(self, names: Sequence[str], idle_s: float) -> AsyncIterator[StepView | None]: ...


def _node(request: Request) -> NodeService:
    node: NodeService = request.app.state.node
    return node


Node = Annotated[NodeService, Depends(_node)]
