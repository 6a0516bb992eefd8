# SPDX-License-Identifier: Apache-2.0
"""The admin API: its models, its answers, its errors. The app runs in this process, on a node that is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from flexnpu.api import models
from flexnpu.api.app import create_app
from flexnpu.errors import NameTaken, OverQuota, UnknownVNpu
from flexnpu.tenancy import AppliedView, DeviceView, Move, Quota, TenantView, VNpuView

GIB = 2**30
DEVICE = DeviceView(0, "Ascend910B2", "software", 24, 64 * GIB, 12, 56 * GIB, 0, "free", "exact", 1.0, {"A": "b"})
VNPU = VNpuView("a", 0, 12, 8 * GIB, 3, None, None, 12, 3, 3, True, 1)
TENANT = TenantView(42, "a", 0, True, 3, 3, 0, 0, 0, 5, 5, 0, {"kernel": 5})


@dataclass
class FakeNode:
    applies: bool = True
    asked: list[object] = field(default_factory=list)

    def devices(self) -> Sequence[DeviceView]:
        return [DEVICE]

    def vnpus(self) -> Sequence[VNpuView]:
        return [VNPU]

    def vnpu(self, name: str) -> VNpuView:
        if name != "a":
            raise UnknownVNpu(f"vNPU {name!r} does not exist", next_step="see flexnpu ps")
        return VNPU

    def tenants(self) -> Sequence[TenantView]:
        return [TENANT]

    def create(self, name: str, device: int, quota: Quota, phase: str | None, owner_pid: int | None) -> VNpuView:
        self.asked.append((name, device, quota, phase, owner_pid))
        if name == "a":
            raise NameTaken("name 'a' is taken", next_step="choose another")
        if quota.cores > 12:
            raise OverQuota("too many", limit=24, used=12, requested=quota.cores, next_step="ask for 12")
        return VNPU

    def delete(self, name: str, *, force: bool) -> None:
        self.asked.append((name, force))

    def set_quota(
        self, name: str, *, cores: int | None, memory_bytes: int | None, if_revision: int | None
    ) -> Mapping[str, int]:
        self.asked.append((name, cores, memory_bytes, if_revision))
        return {name: 4}

    def rebalance(self, moves: Sequence[Move]) -> Mapping[str, int]:
        self.asked.append(list(moves))
        return {move.vnpu: 4 for move in moves}

    async def applied(self, revisions: Mapping[str, int], within_s: float) -> AppliedView:
        self.asked.append(within_s)
        return AppliedView(revisions, self.applies, 0.25 if self.applies else None)


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def http(node: FakeNode) -> TestClient:
    return TestClient(create_app(node, 1), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("model", "view"), [(models.Device, DeviceView), (models.VNpu, VNpuView), (models.Tenant, TenantView)]
)
def test_a_model_says_all_that_the_daemon_shows(model, view):
    assert set(model.model_fields) == {each.name for each in fields(view)}


def test_what_is_listed(http: TestClient):
    assert http.get("/api/v1/devices").json()[0]["environment"] == {"A": "b"}
    assert http.get("/api/v1/vnpus").json()[0]["applied_revision"] == 3
    assert http.get("/api/v1/tenants").json()[0]["launches"] == {"kernel": 5}
    assert http.get("/healthz").json() == {"status": "ok"}
    assert set(http.get("/version").json()) == {"version", "page_version", "api_version"}


def test_a_vnpu_is_made_with_201(http: TestClient, node: FakeNode):
    answer = http.post("/api/v1/vnpus", json={"name": "b", "cores": 12, "memory_bytes": GIB, "owner_pid": 7})
    assert answer.status_code == 201
    assert node.asked == [("b", 0, Quota(12, GIB), None, 7)]


def test_a_revision_travels_as_an_etag(http: TestClient, node: FakeNode):
    assert http.get("/api/v1/vnpus/a").headers["etag"] == '"3"'
    answer = http.patch("/api/v1/vnpus/a/quota?wait=2", json={"cores": 6}, headers={"If-Match": '"3"'})
    assert answer.status_code == 200
    assert answer.json() == {"vnpu": "a", "revision": 4, "applied": True, "applied_after_s": 0.25}
    assert node.asked == [("a", 6, None, 3), 2.0]


def test_what_is_not_applied_yet_is_202(http: TestClient, node: FakeNode):
    node.applies = False
    assert http.patch("/api/v1/vnpus/a/quota", json={"cores": 6}).status_code == 202
    answer = http.post("/api/v1/rebalances", json={"moves": [{"vnpu": "a", "cores": 6}, {"vnpu": "b", "cores": 1}]})
    assert answer.status_code == 202
    assert answer.json() == {"revisions": {"a": 4, "b": 4}, "applied": False, "applied_after_s": None}


def test_delete_can_be_forced(http: TestClient, node: FakeNode):
    assert http.delete("/api/v1/vnpus/a").status_code == 204
    assert http.delete("/api/v1/vnpus/a?force=true").status_code == 204
    assert node.asked == [("a", False), ("a", True)]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/api/v1/vnpus", {"name": "a", "cores": 1, "memory_bytes": 1}, 409, "name_taken"),
        ("POST", "/api/v1/vnpus", {"name": "b", "cores": 13, "memory_bytes": 1}, 422, "over_quota"),
        ("POST", "/api/v1/vnpus", {"name": "b", "cores": 0, "memory_bytes": 1}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {"name": "b", "cores": 2**70, "memory_bytes": 1}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {"name": "b", "cores": 1, "memory_bytes": 1, "color": 1}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", None, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": []}, 422, "invalid_value"),
        ("PATCH", "/api/v1/vnpus/a/quota?wait=-1", {"cores": 1}, 422, "invalid_value"),
        ("GET", "/api/v1/vnpus/b", None, 404, "unknown_vnpu"),
        ("GET", "/nothing", None, 404, "http_error"),
    ],
)
def test_every_error_is_a_problem(  # noqa: PLR0917 - the columns of the table above
    http: TestClient, method: str, path: str, body, status: int, code: str
):
    answer = http.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = models.Problem.model_validate(answer.json())
    assert (problem.status, problem.code) == (status, code)
    assert "\n" not in problem.detail
    assert problem.next_step


def test_limits_are_on_the_wire(http: TestClient):
    problem = http.post("/api/v1/vnpus", json={"name": "b", "cores": 13, "memory_bytes": 1}).json()
    assert (problem["limit"], problem["used"], problem["requested"]) == (24, 12, 13)


def test_the_committed_description_is_that_of_the_app(http: TestClient):
    committed = Path(__file__).parents[2] / "docs/openapi.json"
    assert json.loads(committed.read_text(encoding="utf-8")) == http.get("/openapi.json").json(), (
        "write it anew: python -m flexnpu.api.describe > docs/openapi.json"
    )
