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
        if lost:
            self._merge({"key": KEY, "effect": self._effect, "value": "true"})
        elif self._is_there():
            self._merge({"key": KEY, "$patch": "delete"})
        self._set = lost

    def _is_there(self) -> bool:
        """An API server takes a deletion from a list that is not there for an addition, and refuses that."""
        taints = self._api.get(self._path)["spec"].get("taints") or []
        return any(taint["key"] == KEY for taint in taints)

    def _merge(self, taint: Object) -> None:
        self._api.patch(self._path, {"spec": {"taints": [taint]}}, "strategic-merge")
