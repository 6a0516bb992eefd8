# SPDX-License-Identifier: Apache-2.0
"""Events of pods and nodes, as `kubectl describe` shows them."""

from __future__ import annotations

import datetime
import logging
import uuid
from typing import Literal

from device_plugin.cluster.api_server import ApiServer, Object
from flexnpu.errors import FlexNpuError

COMPONENT = "flexnpu-node-agent"
MOST_MESSAGE = 1024  # the API server's limit
NODE_EVENTS_IN = "default"

Kind = Literal["Normal", "Warning"]

_log = logging.getLogger(__name__)


def node_object(name: str) -> Object:
    """A node, as its Events name it: the kubelet puts the name in the place of the uid, where kubectl looks for it."""
    return {"kind": "Node", "metadata": {"name": name, "uid": name}}


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Events:
    """Of one node's agent. One that cannot be written is logged and lost: they are for people."""

    def __init__(self, api: ApiServer, node: str) -> None:
        self._api, self._node = api, node

    def tell(self, of: Object, kind: Kind, reason: str, message: str) -> None:
        """of: the pod or node."""
        meta, now = of["metadata"], utc_now()
        namespace = meta.get("namespace") or NODE_EVENTS_IN
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta['name'][:230]}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": of["kind"],
                "name": meta["name"],
                "namespace": meta.get("namespace", ""),
                "uid": meta["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message[:MOST_MESSAGE],
            "source": {"component": COMPONENT, "host": self._node},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._api.create(f"/api/v1/namespaces/{namespace}/events", event)
        except FlexNpuError as error:
            _log.warning("event %s of %s is lost: %s", reason, meta["name"], error)
