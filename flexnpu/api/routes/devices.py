# SPDX-License-Identifier: Apache-2.0
"""/api/v1/devices"""

from __future__ import annotations

from fastapi import APIRouter

from flexnpu.api import models, pages, problems
from flexnpu.api.node import Node
from flexnpu.errors import UnknownDevice

router = APIRouter(prefix="/devices", tags=["devices"])


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
    there = {device.index: device for device in node.devices()}
    if index not in there:
        known = ", ".join(map(str, there))
        raise UnknownDevice(f"device {index} does not exist (there are: {known})", next_step="see flexnpu ps")
    return models.Device.model_validate(there[index])
