# SPDX-License-Identifier: Apache-2.0
"""/metrics"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, TypeVar

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST

from flexnpu.api.metrics.node import Seen
from flexnpu.api.metrics.page import page
from flexnpu.api.node import Node
from flexnpu.api.routes import of_tag

# A thousand vNPUs are a tenth of a second to look at, and a second of text: others want answers meanwhile.
_AT_ONCE: Final = 32

_Item = TypeVar("_Item")

router = of_tag("daemon")


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, node: Node) -> Response:
    """Prometheus's text format."""
    state = request.app.state
    vnpus = await _in_turns(node.counted())
    seen = Seen(
        name=state.naming.node,
        page_version=state.page_version,
        devices=node.devices(),
        vnpus=vnpus,
        counts=node.counts(),
        controllers=state.controllers.all(),
    )
    return Response(await run_in_threadpool(page, seen, state.naming.aliases), media_type=CONTENT_TYPE_LATEST)


async def _in_turns(items: Iterable[_Item]) -> list[_Item]:
    """All of them; others have the loop in between."""
    found: list[_Item] = []
    for item in items:
        found.append(item)
        if len(found) % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return found
