# SPDX-License-Identifier: Apache-2.0
"""The FastAPI application over a node."""

from __future__ import annotations

from fastapi import FastAPI

from flexnpu import __version__
from flexnpu.api import metrics, problems
from flexnpu.api.models import API_VERSION, Version
from flexnpu.api.node import NodeService
from flexnpu.api.routes import devices, events, rebalances, steps, tenants, vnpus


def create_app(node: NodeService, page_version: int) -> FastAPI:
    """`page_version` is what tenants of this node must speak."""
    app = FastAPI(title="FlexNPU", version=str(API_VERSION), redoc_url=None)
    app.state.node = node
    for noun in (devices, vnpus, rebalances, tenants, events, steps):
        app.include_router(noun.router, prefix=f"/api/v{API_VERSION}")
    app.include_router(metrics.router)
    problems.install(app)

    @app.get("/healthz", tags=["daemon"])
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/version", tags=["daemon"])
    async def version() -> Version:
        return Version(version=__version__, page_version=page_version, api_version=API_VERSION)

    return app
