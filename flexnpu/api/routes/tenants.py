# SPDX-License-Identifier: Apache-2.0
"""/api/v1/tenants"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from flexnpu.api import models
from flexnpu.api.node import Node
from flexnpu.tenancy import TenantView

router = APIRouter(tags=["tenants"])


@router.get("/tenants", response_model=list[models.Tenant])
async def list_tenants(node: Node) -> Sequence[TenantView]:
    return node.tenants()
