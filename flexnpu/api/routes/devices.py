# SPDX-License-Identifier: Apache-2.0
"""/api/v1/devices"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from flexnpu.api import models
from flexnpu.api.node import Node
from flexnpu.tenancy import DeviceView

router = APIRouter(tags=["devices"])


@router.get("/devices", response_model=list[models.Device])
async def list_devices(node: Node) -> Sequence[DeviceView]:
    return node.devices()
