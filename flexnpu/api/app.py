# SPDX-License-Identifier: Apache-2.0
"""The FastAPI application over a node."""

from __future__ import annotations

from fastapi import FastAPI

from flexnpu import __version__
from flexnpu.api import description, problems
from flexnpu.api.access import Access
from flexnpu.api.controllers import Controllers
from flexnpu.api.gate import Bodies, Entrance, RequestIds
from flexnpu.api.metrics.naming import Naming
from flexnpu.api.models import API_VERSION
from flexnpu.api.node import NodeService
from flexnpu.api.replays import Replays
from flexnpu.api.routes import (
    controller,
    daemon,
    devices,
    events,
    forecast,
    metrics,
    operations,
    page,
    rebalances,
    steps,
    tenants,
    vnpus,
)

_PARTS = (
    devices,
    vnpus,
    rebalances,
    operations,
    tenants,
    controller,
    forecast,
    events,
    steps,
    metrics,
    daemon,
    page,
)


def create_app(
    node: NodeService, page_version: int, access: Access | None = None, naming: Naming | None = None
) -> FastAPI:
    """`page_version` is what tenants of this node must speak; `naming` how its metrics are named. Whoever serves it
    puts the peer of each connection (flexnpu.api.callers) into the request's state as `peer`; a request without one
    is refused."""
    app = FastAPI(
        title="FlexNPU",
        version=f"{API_VERSION}",
        description=description.TEXT,
        docs_url=None,  # its scripts come from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.node = node
    app.state.access = access = access or Access()
    app.state.page_version = page_version
    app.state.naming = naming or Naming()
    app.state.package_version = __version__
    app.state.controllers = Controllers()
    app.state.forecasts = forecast.Forecasts()
    for part in _PARTS:
        app.router.routes += part.router.routes  # not included: FastAPI would look through routers, then through routes
    problems.install(app)
    # The last is the outermost.
    app.add_middleware(Replays)
    app.add_middleware(Bodies)
    app.add_middleware(Entrance, access=access)
    app.add_middleware(RequestIds)
    app.openapi = lambda: description.describe(app)  # type: ignore[method-assign]
    return app
