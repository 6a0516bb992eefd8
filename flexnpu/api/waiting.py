# SPDX-License-Identifier: Apache-2.0
"""Changes that take effect later: the `wait` parameter, 200 or 202, and the operation that a 202 names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Response, status

from flexnpu.api.node import Node, NodeService
from flexnpu.errors import InvalidValue, NotFound
from flexnpu.tenancy import AppliedView
from flexnpu.units import parse_duration

MOST_WAIT_S = 3600.0
_ID = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}(?:-[0-9]{1,18}\.[0-9]{1,18}){0,255}")


async def _seconds(
    wait: Annotated[
        str | None,
        Query(
            description="How long to wait until the change is applied, such as `2s` or `500ms`; an hour at most.",
            json_schema_extra={"pattern": r"^[1-9][0-9]?(ms|s)$"},
        ),
    ] = None,
) -> float:
    if wait is None:
        return 0.0
    seconds = parse_duration(wait)
    if seconds > MOST_WAIT_S:
        raise InvalidValue(f"wait {wait!r} is out of range", next_step=f"give at most {MOST_WAIT_S:g}s, and ask again")
    return seconds


Wait = Annotated[float, Depends(_seconds)]


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where a change stands after waiting. operation: its id; None when it is applied."""

    state: AppliedView
    operation: str | None


async def answer(node: Node, response: Response, revisions: Mapping[str, int], wait: float) -> Accepted:
    """Sets the status, and for a 202 the Location."""
    id_ = operation_id(node, revisions)  # before others can delete a vNPU
    state = await node.applied(revisions, wait)
    if state.applied:
        response.status_code = status.HTTP_200_OK
        return Accepted(state, None)
    response.status_code = status.HTTP_202_ACCEPTED
    response.headers["Location"] = f"/api/v1/operations/{id_}"
    return Accepted(state, id_)


def operation_id(node: NodeService, revisions: Mapping[str, int]) -> str:
    """It says all that there is to know, so that it outlives the daemon: 7.4-9.2 is revision 4 of vNPU number 7, and
    revision 2 of number 9."""
    return "-".join(f"{node.id_of(name)}.{revision}" for name, revision in revisions.items())


def revisions_of(node: NodeService, operation: str) -> Mapping[str, int]:
    """By name. NotFound for what is no operation, and when a vNPU of it is gone."""
    if not _ID.fullmatch(operation):
        raise NotFound(f"operation {operation[:80]!r} does not exist", next_step="ask for one that a 202 named")
    revisions = {}
    for part in operation.split("-"):
        id_, _, revision = part.partition(".")
        name = node.name_of(int(id_))
        if int(revision) > node.vnpu(name).revision:
            raise NotFound(f"vNPU {name} never had a revision {revision}", next_step="ask for one that a 202 named")
        revisions[name] = int(revision)
    return revisions
