# SPDX-License-Identifier: Apache-2.0
"""Changes that take effect later: the `wait` parameter, and 200 or 202."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Query, Response, status

from flexnpu.api.node import Node
from flexnpu.tenancy import AppliedView

Wait = Annotated[float, Query(ge=0, le=3600, description="seconds to wait until the change is applied")]


async def answer(node: Node, response: Response, revisions: Mapping[str, int], wait: float) -> AppliedView:
    """Where the change stands after waiting; sets the status code."""
    state = await node.applied(revisions, wait)
    response.status_code = status.HTTP_200_OK if state.applied else status.HTTP_202_ACCEPTED
    return state
