# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a handler has one parameter per part of the request
"""/api/v1/vnpus"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

from fastapi import APIRouter, Header, Response, status

from flexnpu.api import models
from flexnpu.api.node import Node
from flexnpu.api.waiting import Wait, answer
from flexnpu.errors import InvalidValue
from flexnpu.tenancy import Quota, QuotaFields, VNpu, VNpuView, share_of

router = APIRouter(prefix="/vnpus", tags=["vnpus"])

_REMOVABLE = {"burst_cores", "vector_cores", "share"}


@router.get("", response_model=list[models.VNpu])
async def list_vnpus(node: Node) -> Sequence[VNpuView]:
    return node.vnpus()


@router.post("", response_model=models.VNpu, status_code=status.HTTP_201_CREATED)
async def create_vnpu(node: Node, new: models.NewVNpu) -> VNpuView:
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
    return node.create(VNpu(0, new.name, devices, quota, new.phase), new.owner_pid)


@router.get("/{name}", response_model=models.VNpu)
async def get_vnpu(node: Node, name: str, response: Response) -> VNpuView:
    vnpu = node.vnpu(name)
    response.headers["ETag"] = f'"{vnpu.revision}"'
    return vnpu


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_vnpu(node: Node, name: str, force: bool = False) -> None:
    node.delete(name, force=force)


@router.patch("/{name}/quota", responses={202: {"model": models.QuotaState}})
async def change_quota(
    node: Node,
    name: str,
    change: models.QuotaChange,
    response: Response,
    if_match: Annotated[str | None, Header()] = None,
    wait: Wait = 0.0,
) -> models.QuotaState:
    """200 when it is applied (within `wait` seconds), else 202. If-Match: the quoted revision that is to be changed."""
    revisions = node.set_quota(name, if_revision=_revision(if_match), **_fields(change))
    state = await answer(node, response, revisions, wait)
    response.headers["ETag"] = f'"{revisions[name]}"'
    return models.QuotaState(
        vnpu=name, revision=revisions[name], applied=state.applied, applied_after_s=state.applied_after_s
    )


def _fields(change: models.QuotaChange) -> QuotaFields:
    given = {name: getattr(change, name) for name in change.model_fields_set}
    if "share_percent" in given:
        percent = given.pop("share_percent")
        given["share"] = None if percent is None else share_of(percent)
    fields = {name: value for name, value in given.items() if value is not None or name in _REMOVABLE}
    return cast(QuotaFields, fields)


def _revision(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().strip('"')
    if not (text.isascii() and text.isdigit()):
        raise InvalidValue(f"If-Match {if_match!r} is not a revision", next_step='send it like "3"')
    return int(text)
