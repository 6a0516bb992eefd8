# SPDX-License-Identifier: Apache-2.0
"""/api/v1/controller: what the controllers of the node have told of themselves"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request, status

from flexnpu.api import pages, problems
from flexnpu.api.access import MayWrite
from flexnpu.api.audit import Audit, Facts
from flexnpu.api.callers import Caller
from flexnpu.api.controller import Controller, ControllerState, Decision, NewRecords, RecordsKept
from flexnpu.api.controllers import Controllers
from flexnpu.api.models import Page
from flexnpu.api.node import Node
from flexnpu.api.replays import TakesKey
from flexnpu.api.routes import router_of

router = router_of("controller")

_MOST_TEXT = 300


async def _controllers(request: Request) -> Controllers:
    found: Controllers = request.app.state.controllers
    return found


Known = Annotated[Controllers, Depends(_controllers)]
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="of the controller's choosing")]


@router.get("")
async def list_controllers(known: Known) -> Page[Controller]:
    """Mode, targets and options of each controller, and whether it lives."""
    return Page(items=known.all())


@router.get("/decisions", responses=problems.of(400))
async def list_decisions(  # noqa: PLR0913, PLR0917 - a filter each
    known: Known,
    controller: Annotated[str | None, Query(max_length=64, description="of that controller alone")] = None,
    device: Annotated[int | None, Query(description="on that device alone")] = None,
    moved: Annotated[bool | None, Query(description="those that moved cores, or those that did not")] = None,
    limit: pages.Limit = 20,
    cursor: pages.Cursor = None,
) -> Page[Decision]:
    """The newest first, with inputs, forecast, alternatives, reason and, where that is known, what came of them."""
    found = (
        each
        for each in known.decisions(pages.decode_number(cursor))
        if controller in (None, each.controller) and device in (None, each.device) and moved in (None, each.moved)
    )
    items, next_cursor = pages.cut(found, limit, lambda decision: decision.id)
    return Page(items=items, next_cursor=next_cursor)


@router.get("/decisions/{decision}", responses=problems.of(404))
async def get_decision(known: Known, decision: int) -> Decision:
    """One decision."""
    return known.decision(decision)


@router.get("/{name}", responses=problems.of(404))
async def get_controller(known: Known, name: Name) -> Controller:
    """One controller."""
    return known.get(name)


@router.put("/{name}", dependencies=[MayWrite], responses=problems.of(409))
async def put_controller(
    request: Request, known: Known, audit: Audit, name: Name, state: ControllerState
) -> Controller:
    """A controller tells its state: when it begins, when that changes, and again before renew_within_s are over."""
    caller: Caller = request.state.caller
    before = known.put(name, state, caller.who)
    old, new = _facts(before), _facts(state)
    if old != new:  # an audit line for what changes, not for every sign of life
        with audit.change("controller", name, old) as change:
            change.new = new
    return known.get(name)


@router.delete("/{name}", dependencies=[MayWrite], status_code=status.HTTP_204_NO_CONTENT, responses=problems.of(404))
async def delete_controller(known: Known, audit: Audit, name: Name) -> None:
    """A controller has ended. Its decisions stay."""
    with audit.change("controller", name) as change:
        change.old = _facts(known.remove(name))


@router.post(
    "/{name}/decisions",
    status_code=status.HTTP_201_CREATED,
    dependencies=[MayWrite, TakesKey],
    responses=problems.of(404, 409),
)
async def add_decisions(node: Node, known: Known, name: Name, new: NewRecords) -> RecordsKept:
    """A controller tells its decisions, and what came of earlier ones. Those that moved cores are events too."""
    made = [known.add(name, each) for each in new.decisions]
    for each in made:
        if each.moved:
            node.publish("decided", _line(each))
    return RecordsKept(
        decisions=[each.id for each in made], outcomes=sum(known.add_outcome(name, each) for each in new.outcomes)
    )


def _facts(state: ControllerState | None) -> Facts | None:
    return None if state is None else state.model_dump(exclude={"totals"})


def _line(decision: Decision) -> str:
    changed = [name for name, grant in decision.after.items() if grant != decision.before.get(name)]
    moves = ", ".join(f"{name} {_cores(decision, name)} -> {decision.after[name].cores}" for name in changed)
    text = f"decided {decision.id} by {decision.controller} on device {decision.device}: {moves}; {decision.reason}"
    return " ".join(text.split())[:_MOST_TEXT]


def _cores(decision: Decision, name: str) -> int:
    before = decision.before.get(name)
    return before.cores if before else 0
