# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a handler has one parameter per part of the request
"""/api/v1/vnpus"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, cast

from fastapi import Body, Query, Response, status

from flexnpu.api import models, pages, problems
from flexnpu.api.access import MayWrite
from flexnpu.api.audit import Audit
from flexnpu.api.node import Node
from flexnpu.api.preconditions import OptionalMatch, RequiredMatch, etag
from flexnpu.api.replays import TakesKey
from flexnpu.api.routes import router_of
from flexnpu.api.waiting import Accepted, Wait, answer, operation_id
from flexnpu.tenancy import Quota, QuotaFields, VNpu, VNpuView, share_of

router = router_of("vnpus")

_ETAG: Final = {"headers": {"ETag": {"schema": {"type": "string"}, "description": "The quota's revision, in quotes."}}}
_DEFAULTS: Final = {"fixed_share": False, "priority": 0}
_MERGE_PATCH: Final = Body(media_type="application/merge-patch+json")
_CHANGES: Final = {**problems.of(400, 404, 409, 412, 428)}
_QUOTA: Final = ("cores", "memory_bytes", "burst_cores", "vector_cores", "share_percent", "fixed_share", "priority")


@router.get("", responses=problems.of(400))
async def list_vnpus(node: Node, limit: pages.Limit = 100, cursor: pages.Cursor = None) -> models.Page[models.VNpu]:
    """In the order they were made."""
    there = node.vnpus(after=pages.decode_number(cursor) or 0, most=limit + 1)
    items, next_cursor = pages.cut(there, limit, lambda vnpu: vnpu.id)
    return models.Page(items=list(map(models.VNpu.model_validate, items)), next_cursor=next_cursor)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[MayWrite, TakesKey],
    responses={201: _ETAG, **problems.of(404, 409)},
)
async def create_vnpu(node: Node, audit: Audit, new: models.NewVNpu, response: Response) -> models.VNpu:
    """A vNPU that stays until it is deleted, or until the process of owner_pid ends."""
    quota = Quota(
        new.cores,
        new.memory_bytes,
        burst_cores=new.burst_cores,
        vector_cores=new.vector_cores,
        share=None if new.share_percent is None else share_of(new.share_percent),
        fixed_share=new.fixed_share,
        priority=new.priority,
    )
    devices = tuple(new.devices or [new.device or 0])
    with audit.change("create", new.name) as change:
        folders = tuple(map(Path, new.attach_dirs))
        wanted = VNpu(0, new.name, devices, quota, new.phase, labels=new.labels, attach_dirs=folders)
        made = node.create(wanted, new.owner_pid)
        change.new = {**quota_facts(made), "devices": list(made.devices), "phase": made.phase}
    response.headers["Location"] = f"/api/v1/vnpus/{made.name}"
    return _tagged(made, response)


@router.get("/{name}", responses={200: _ETAG, **problems.of(404)})
async def get_vnpu(node: Node, name: str, response: Response) -> models.VNpu:
    """One vNPU."""
    return _tagged(node.vnpu(name), response)


@router.patch("/{name}", dependencies=[MayWrite], responses={200: _ETAG, **_CHANGES})
async def change_vnpu(
    node: Node,
    audit: Audit,
    name: str,
    change: Annotated[models.VNpuChange, _MERGE_PATCH],
    response: Response,
    if_revision: RequiredMatch,
) -> models.VNpu:
    """Changes the phase that is served on it, which is a revision of its quota too, or its labels, which are none."""
    old = node.vnpu(name)
    if change.labels:
        with audit.change("labels", name, dict(old.labels)) as line:
            given = {**old.labels, **change.labels}
            labels = {label: value for label, value in given.items() if value is not None}
            node.set_labels(name, labels, if_revision=if_revision)
            line.new = labels
    if "phase" not in change.model_fields_set:
        return _tagged(node.vnpu(name), response)
    with audit.change("phase", name, {"phase": old.phase, "revision": old.revision}) as line:
        node.set_phase(name, change.phase, if_revision=if_revision)
        new = node.vnpu(name)
        line.new = {"phase": new.phase, "revision": new.revision}
    return _tagged(new, response)


@router.delete(
    "/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[MayWrite],
    responses=problems.of(400, 404, 409, 412),
)
async def delete_vnpu(
    node: Node,
    audit: Audit,
    name: str,
    if_revision: OptionalMatch,
    force: Annotated[bool, Query(description="even with live tenants, which are killed")] = False,
) -> None:
    """Deletes a vNPU."""
    with audit.change("delete", name, quota_facts(node.vnpu(name))):
        node.delete(name, if_revision=if_revision, force=force)


@router.get("/{name}/quota", responses={200: _ETAG, **problems.of(404)})
async def get_quota(node: Node, name: str, response: Response) -> models.QuotaState:
    """The quota, and how far it is in force."""
    vnpu = node.vnpu(name)
    revisions = {name: vnpu.revision}
    state = await node.applied(revisions, 0.0)
    operation = None if state.applied else operation_id(node, revisions)
    return _state(vnpu, Accepted(state, operation), response)


@router.patch(
    "/{name}/quota",
    dependencies=[MayWrite],
    responses={200: _ETAG, 202: {"model": models.QuotaState, "description": "Not applied yet", **_ETAG}, **_CHANGES},
)
async def change_quota(
    node: Node,
    audit: Audit,
    name: str,
    change: Annotated[models.QuotaChange, _MERGE_PATCH],
    response: Response,
    if_revision: RequiredMatch,
    wait: Wait = 0.0,
) -> models.QuotaState:
    """200 when it is applied (within `wait`), else 202."""
    with audit.change("quota", name, quota_facts(node.vnpu(name))) as line:
        revisions = node.set_quota(name, if_revision=if_revision, **_fields(change))
        asked = node.vnpu(name)
        line.new = quota_facts(asked)
    accepted = await answer(node, response, revisions, wait)
    return _state(asked, accepted, response)


def quota_facts(vnpu: VNpuView) -> dict[str, object]:
    """For the audit line."""
    return {**{field: getattr(vnpu, field) for field in _QUOTA}, "revision": vnpu.revision}


def _state(vnpu: VNpuView, accepted: Accepted, response: Response) -> models.QuotaState:
    response.headers["ETag"] = etag(vnpu.revision)
    return models.QuotaState(
        vnpu=vnpu.name,
        **{field: getattr(vnpu, field) for field in _QUOTA},
        desired_revision=vnpu.revision,
        observed_revision=accepted.state.observed[vnpu.name],
        applied=accepted.state.applied,
        applied_after_s=accepted.state.applied_after_s,
        operation=accepted.operation,
    )


def _tagged(vnpu: VNpuView, response: Response) -> models.VNpu:
    response.headers["ETag"] = etag(vnpu.revision)
    return models.VNpu.model_validate(vnpu)


def _fields(change: models.QuotaChange) -> QuotaFields:
    given: dict[str, Any] = {name: getattr(change, name) for name in change.model_fields_set}
    if "share_percent" in given:
        percent = given.pop("share_percent")
        given["share"] = None if percent is None else share_of(percent)
    for name, default in _DEFAULTS.items():
        if name in given and given[name] is None:
            given[name] = default
    return cast(QuotaFields, given)
