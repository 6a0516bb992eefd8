# SPDX-License-Identifier: Apache-2.0
"""/api/v1/rebalances"""

from __future__ import annotations

from fastapi import APIRouter, Response

from flexnpu.api import models
from flexnpu.api.node import Node
from flexnpu.api.waiting import Wait, answer
from flexnpu.tenancy import AppliedView, Move, MoveFields, share_of

router = APIRouter(prefix="/rebalances", tags=["rebalances"])


@router.post("", response_model=models.RebalanceState, responses={202: {"model": models.RebalanceState}})
async def rebalance(node: Node, wanted: models.Rebalance, response: Response, wait: Wait = 0.0) -> AppliedView:
    """All moves or none. 200 when all are applied (within `wait` seconds), else 202."""
    revisions = node.rebalance([Move(move.vnpu, _fields(move)) for move in wanted.moves])
    return await answer(node, response, revisions, wait)


def _fields(move: models.Move) -> MoveFields:
    fields = MoveFields()
    if move.cores is not None:
        fields["cores"] = move.cores
    if "share_percent" in move.model_fields_set:
        fields["share"] = None if move.share_percent is None else share_of(move.share_percent)
    if move.priority is not None:
        fields["priority"] = move.priority
    return fields
