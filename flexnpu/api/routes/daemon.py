# SPDX-License-Identifier: Apache-2.0
"""The daemon itself: /livez, /readyz, /healthz, /version"""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from pydantic import BaseModel

from flexnpu.api import problems
from flexnpu.api.models import API_VERSION, Version
from flexnpu.api.node import Node
from flexnpu.api.routes import of_tag

router = of_tag("daemon")


class Health(BaseModel):
    """What it says when it is well; otherwise there is a problem, or no answer."""

    status: Literal["ok"] = "ok"


@router.get("/livez")
async def livez() -> Health:
    """The daemon answers. Whoever may connect may ask."""
    return Health()


@router.get("/readyz", responses=problems.of(503))
async def readyz(node: Node) -> Health:
    """The daemon can make and change vNPUs. Whoever may connect may ask."""
    node.check_ready()
    return Health()


@router.get("/healthz", responses=problems.of(503))
async def healthz(node: Node) -> Health:
    """As /readyz, under the name that older tools ask for."""
    return await readyz(node)


@router.get("/version")
async def version(request: Request) -> Version:
    """Versions of the package, of the page that tenants speak, and of this API."""
    state = request.app.state
    return Version(version=state.package_version, page_version=state.page_version, api_version=API_VERSION)
