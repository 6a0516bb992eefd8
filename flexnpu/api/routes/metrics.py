# SPDX-License-Identifier: Apache-2.0
"""/metrics"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST

from flexnpu.api.metrics.node import Seen
from flexnpu.api.metrics.page import page
from flexnpu.api.node import Node

router = APIRouter(tags=["daemon"])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, node: Node) -> Response:
    """Prometheus's text format."""
    state = request.app.state
    seen = Seen(
        name=state.naming.node,
        page_version=state.page_version,
        devices=node.devices(),
        vnpus=node.vnpus(),
        counts=node.counts(),
        controllers=state.controllers.all(),
    )
    # A thousand vNPUs are half a second of text, in which others want answers.
    return Response(await run_in_threadpool(page, seen, state.naming.aliases), media_type=CONTENT_TYPE_LATEST)
