# SPDX-License-Identifier: Apache-2.0
"""The taint of a node that has lost a device, so that no pod goes there which would find less than it was promised."""

from __future__ import annotations

from typing import Literal, get_args

from device_plugin.cluster.api_server import ApiServer, Object

Effect = Literal["PreferNoSchedule", "NoSchedule", "NoExecute"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
KEY = "flexnpu.io/device-lost"


class Taint:
    """Of one node: there while a device is lost. Other taints are left as they are."""

    def __init__(self, api: ApiServer, node: str, effect: Effect) -> None:
        self._api, self._path, self._effect = api, f"/api/v1/nodes/{node}", effect
        self._set: bool | None = None  # unknown, until it was written once

    def hold(self, *, lost: bool) -> None:
        """ApiError, ApiUnreachable: then it is tried again with the next call."""
        if lost == self._set:
            return
        node = self._api.get(self._path)
        there: list[Object] = node["spec"].get("taints") or []
        others = [taint for taint in there if taint["key"] != KEY]
        ours: list[Object] = [{"key": KEY, "effect": self._effect, "value": "true"}] if lost else []
        if ours or others != there:
            # The list is replaced as a whole; a conflict where somebody else has changed the node since.
            version = {"resourceVersion": node["metadata"]["resourceVersion"]}
            self._api.patch(self._path, {"metadata": version, "spec": {"taints": others + ours}})
        self._set = lost
