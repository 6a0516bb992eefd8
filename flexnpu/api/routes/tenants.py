# SPDX-License-Identifier: Apache-2.0
"""/api/v1/tenants"""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from flexnpu.api import models, pages, problems
from flexnpu.api.node import Node
from flexnpu.api.routes import router_of
from flexnpu.tenancy import TenantView

router = router_of("tenants")


@router.get("", responses=problems.of(400))
async def list_tenants(
    node: Node,
    vnpu: Annotated[str | None, Query(max_length=64, description="of that vNPU alone")] = None,
    limit: pages.Limit = 100,
    cursor: pages.Cursor = None,
) -> models.Page[models.Tenant]:
    """Processes on vNPUs, by the vNPU's name and their pid."""
    after = pages.decode(cursor) or ""
    there = sorted(node.tenants(vnpu), key=_key)
    items, next_cursor = pages.cut((tenant for tenant in there if _key(tenant) > after), limit, _key)
    return models.Page(items=list(map(models.Tenant.model_validate, items)), next_cursor=next_cursor)


def _key(tenant: TenantView) -> str:
    return f"{tenant.vnpu} {tenant.pid:010}"
