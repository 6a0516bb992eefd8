# SPDX-License-Identifier: Apache-2.0
"""/api/v1/operations"""

from __future__ import annotations

from flexnpu.api import models, problems
from flexnpu.api.node import Node
from flexnpu.api.routes import router_of
from flexnpu.api.waiting import Wait, revisions_of

router = router_of("operations")


@router.get("/{operation}", responses=problems.of(404))
async def get_operation(node: Node, operation: str, wait: Wait = 0.0) -> models.Operation:
    """What became of a change that was answered with 202. It is known to later daemons too."""
    revisions = revisions_of(node, operation)
    state = await node.applied(revisions, wait)
    return models.Operation(
        id=operation, revisions=dict(revisions), done=state.applied, applied_after_s=state.applied_after_s
    )
