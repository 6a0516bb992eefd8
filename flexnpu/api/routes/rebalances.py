# SPDX-License-Identifier: Apache-2.0
"""/api/v1/rebalances"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

from fastapi import Query, Response

from flexnpu.api import models, problems
from flexnpu.api.access import MayWrite
from flexnpu.api.audit import Audit
from flexnpu.api.node import Node
from flexnpu.api.replays import TakesKey
from flexnpu.api.routes import router_of
from flexnpu.api.routes.vnpus import quota_facts
from flexnpu.api.waiting import Wait, answer
from flexnpu.tenancy import Move, MoveFields, share_of

router = router_of("rebalances")

DryRun = Annotated[bool, Query(description="say what it would bring, and change nothing")]


@router.post(
    "",
    dependencies=[MayWrite, TakesKey],
    responses={202: {"model": models.RebalanceState, "description": "Not applied yet"}, **problems.of(404, 409)},
)
async def rebalance(  # noqa: PLR0913, PLR0917 - the parts of the request
    node: Node, audit: Audit, wanted: models.Rebalance, response: Response, dry_run: DryRun = False, wait: Wait = 0.0
) -> models.RebalanceState:
    """All moves or none. 200 when all are applied (within `wait`), else 202."""
    moves = [Move(move.vnpu, _fields(move)) for move in wanted.moves]
    if dry_run:
        return models.RebalanceState(revisions=dict(node.rebalance(moves, dry_run=True)), applied=False, dry_run=True)
    old = {move.vnpu: quota_facts(node.vnpu(move.vnpu)) for move in moves}
    with ExitStack() as lines:  # a line for each vNPU
        changes = [lines.enter_context(audit.change("rebalance", name, facts)) for name, facts in old.items()]
        revisions = node.rebalance(moves, dry_run=False)
        for change in changes:
            change.new = quota_facts(node.vnpu(change.target))
    accepted = await answer(node, response, revisions, wait)
    return models.RebalanceState(
        revisions=dict(revisions),
        applied=accepted.state.applied,
        applied_after_s=accepted.state.applied_after_s,
        operation=accepted.operation,
    )


def _fields(move: models.Move) -> MoveFields:
    fields = MoveFields()
    if move.cores is not None:
        fields["cores"] = move.cores
    if "share_percent" in move.model_fields_set:
        fields["share"] = None if move.share_percent is None else share_of(move.share_percent)
    if move.priority is not None:
        fields["priority"] = move.priority
    return fields
