# SPDX-License-Identifier: Apache-2.0
"""/api/v1/steps"""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request

from flexnpu.api import models, problems
from flexnpu.api.node import Node
from flexnpu.api.routes import router_of
from flexnpu.api.streams import EventStream, described, stream
from flexnpu.tenancy import StepView

router = router_of("steps")

ALIVE_EVERY_S = 1.0  # so that a reader can end soon


@router.get(
    "",
    response_class=EventStream,
    responses={**described(models.Step, "Steps as they begin, until one of the vNPUs ends."), **problems.of(404)},
)
async def follow_steps(
    request: Request,
    node: Node,
    vnpu: Annotated[list[str], Query(min_length=1, max_length=64, description="of these")],
) -> EventStream:
    """Server-sent events: the newest step of each tenant of these vNPUs, then each as it begins."""
    return stream(request, node.steps(vnpu, ALIVE_EVERY_S), _lines)


def _lines(step: StepView) -> str:
    return f"event: step\ndata: {models.Step.model_validate(step).model_dump_json()}\n\n"
