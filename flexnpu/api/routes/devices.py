# SPDX-License-Identifier: Apache-2.0
"""/api/v1/devices"""

from __future__ import annotations

from flexnpu.api import models, pages, problems
from flexnpu.api.node import Node
from flexnpu.api.routes import router_of

router = router_of("devices")


@router.get("", responses=problems.of(400))
async def list_devices(node: Node, limit: pages.Limit = 100, cursor: pages.Cursor = None) -> models.Page[models.Device]:
    """The devices of the node, and what of each is free."""
    after = pages.decode_number(cursor)
    there = (device for device in node.devices() if after is None or device.index > after)
    items, next_cursor = pages.cut(there, limit, lambda device: device.index)
    return models.Page(items=list(map(models.Device.model_validate, items)), next_cursor=next_cursor)


@router.get("/{index}", responses=problems.of(404))
async def get_device(node: Node, index: int) -> models.Device:
    """One device."""
    return models.Device.model_validate(node.device(index))
