# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - a handler has one parameter per part of the request
"""/api/v1/vnpus"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Response, status

from flexnpu.api import models
from flexnpu.api.node import Node
from flexnpu.api.waiting import Wait, answer
from flexnpu.errors import InvalidValue
from flexnpu.tenancy import Quota, VNpuView

router = APIRouter(prefix="/vnpus", tags=["vnpus"])


@router.get("", response_model=list[models.VNpu])
async def list_vnpus(node: Node) -> Sequence[VNpuView]:
    return node.vnpus()


@router.post("", response_model=models.VNpu, status_code=status.HTTP_201_CREATED)
async def create_vnpu(node: Node, new: models.NewVNpu) -> VNpuView:
    return node.create(new.name, new.device, Quota(new.cores, new.memory_bytes), new.phase, new.owner_pid)


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
    revisions = node.set_quota(
        name, cores=change.cores, memory_bytes=change.memory_bytes, if_revision=_revision(if_match)
    )
    state = await answer(node, response, revisions, wait)
    response.headers["ETag"] = f'"{revisions[name]}"'
    return models.QuotaState(
        vnpu=name, revision=revisions[name], applied=state.applied, applied_after_s=state.applied_after_s
    )


def _revision(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().strip('"')
    if not (text.isascii() and text.isdigit()):
        raise InvalidValue(f"If-Match {if_match!r} is not a revision", next_step='send it like "3"')
    return int(text)
