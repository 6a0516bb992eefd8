# SPDX-License-Identifier: Apache-2.0
"""The admin API: its models, its answers, its errors. The app runs in this process, on a node that is not there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Unpack

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from flexnpu.api import models
from flexnpu.api.app import create_app
from flexnpu.errors import NameTaken, OverQuota, UnknownVNpu
from flexnpu.tenancy import (
    AppliedView,
    DeviceView,
    EventView,
    GraphView,
    IterationView,
    Move,
    Quota,
    QuotaFields,
    StepView,
    TenantView,
    UseView,
    VNpu,
    VNpuView,
)

GIB = 2**30
NEW = {"name": "b", "cores": 1, "memory_bytes": 1}
DEVICE = DeviceView(0, "Ascend910B2", "software", 24, 64 * GIB, 12, 56 * GIB, 0, "free", "exact", 1.0, {"A": "b"})
VNPU = VNpuView(
    name="a",
    device=0,
    devices=[0],
    cores=12,
    burst_cores=16,
    vector_cores=None,
    memory_bytes=8 * GIB,
    share_percent=25.0,
    effective_share_percent=30.0,
    fixed_share=False,
    priority=1,
    revision=3,
    phase=None,
    owner_pid=None,
    granted_cores=14,
    granted_revision=3,
    applied_revision=3,
    applied=True,
    lent_cores=2,
    tenants=1,
    use=[UseView(0, 14, 2, 14, 1.5, 7, GIB, 2 * GIB)],
)
TENANT = TenantView(
    pid=42,
    vnpu="a",
    devices=[0],
    present=True,
    applied=True,
    applied_revision=3,
    memory_used=GIB,
    memory_denied=0,
    waited_s=0.5,
    busy_s=0.0,
    tiled=5,
    launched=5,
    ungoverned=0,
    launches={"kernel": 5},
    graphs=[GraphView(0, 12, 24, 9)],
    iteration=IterationView(3, "decode", 8, 8, 4096, 1024, True),
)
EVENTS = [EventView(4, 1.5, "attached", "a", 42, "attached pid 42 to a"), None, EventView(5, 2.5, "left", "a", 42, "…")]


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

    def create(self, wanted: VNpu, owner_pid: int | None) -> VNpuView:
        self.asked.append((wanted, owner_pid))
        if wanted.name == "a":
            raise NameTaken("name 'a' is taken", next_step="choose another")
        cores = wanted.quota.cores
        if cores > 12:
            raise OverQuota("too many", limit=24, used=12, requested=cores, next_step="ask for 12")
        return VNPU

    def delete(self, name: str, *, force: bool) -> None:
        self.asked.append((name, force))

    def set_quota(self, name: str, *, if_revision: int | None, **fields: Unpack[QuotaFields]) -> Mapping[str, int]:
        self.asked.append((name, fields, if_revision))
        return {name: 4}

    def rebalance(self, moves: Sequence[Move]) -> Mapping[str, int]:
        self.asked.append(list(moves))
        return {move.vnpu: 4 for move in moves}

    async def applied(self, revisions: Mapping[str, int], within_s: float) -> AppliedView:
        self.asked.append(within_s)
        return AppliedView(revisions, self.applies, 0.25 if self.applies else None)

    async def events(self, after: int, idle_s: float) -> AsyncIterator[EventView | None]:
        for event in EVENTS:
            if event is None or event.id > after:
                yield event

    async def steps(self, names: Sequence[str], idle_s: float) -> AsyncIterator[StepView | None]:
        self.asked.append(list(names))
        iteration = {"requests": 3, "new_tokens": 3, "context_sum": 900, "context_most": 400, "graph": True}
        yield StepView(number=7, phase="decode", **iteration, vnpu="a", pid=42, ended=6, at_s=12.5)
        yield None


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def http(node: FakeNode) -> TestClient:
    return TestClient(create_app(node, 1), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("model", "view"),
    [
        (models.Device, DeviceView),
        (models.VNpu, VNpuView),
        (models.VNpuUse, UseView),
        (models.Tenant, TenantView),
        (models.Graph, GraphView),
        (models.Iteration, IterationView),
        (models.Event, EventView),
    ],
)
def test_a_model_says_all_that_the_daemon_shows(model, view):
    assert set(model.model_fields) == {each.name for each in fields(view)}


def test_what_is_listed(http: TestClient):
    assert http.get("/api/v1/devices").json()[0]["environment"] == {"A": "b"}
    assert http.get("/api/v1/vnpus").json()[0]["applied_revision"] == 3
    assert http.get("/api/v1/vnpus").json()[0]["use"][0]["memory_peak"] == 2 * GIB
    (tenant,) = http.get("/api/v1/tenants").json()
    assert tenant["launches"] == {"kernel": 5}
    assert tenant["graphs"] == [{"device": 0, "cores": 12, "vector_cores": 24, "replays": 9}]
    assert tenant["iteration"]["context_most"] == 1024
    assert http.get("/healthz").json() == {"status": "ok"}
    assert set(http.get("/version").json()) == {"version", "page_version", "api_version"}


def test_a_vnpu_is_made_with_201(http: TestClient, node: FakeNode):
    answer = http.post("/api/v1/vnpus", json={"name": "b", "cores": 12, "memory_bytes": GIB, "owner_pid": 7})
    assert answer.status_code == 201
    assert node.asked == [(VNpu(0, "b", (0,), Quota(12, GIB)), 7)]


def test_a_vnpu_has_limits_on_each_of_its_devices(http: TestClient, node: FakeNode):
    limits = {"burst_cores": 12, "vector_cores": 3, "share_percent": 12.5, "fixed_share": True, "priority": 2}
    wanted = {"name": "b", "devices": [1, 0], "cores": 4, "memory_bytes": GIB, **limits}
    assert http.post("/api/v1/vnpus", json=wanted).status_code == 201
    assert node.asked == [(VNpu(0, "b", (1, 0), Quota(4, GIB, 1, 12, 3, 1250, True, 2)), None)]


def test_a_change_passes_on_what_it_names_and_null_where_that_takes_away(http: TestClient, node: FakeNode):
    change = {"cores": None, "burst_cores": None, "share_percent": None, "priority": None, "fixed_share": False}
    assert http.patch("/api/v1/vnpus/a/quota", json=change).status_code == 200
    assert http.patch("/api/v1/vnpus/a/quota", json={"share_percent": 25}).status_code == 200
    asked = [each for each in node.asked if isinstance(each, tuple)]
    assert asked == [
        ("a", {"burst_cores": None, "share": None, "fixed_share": False}, None),
        ("a", {"share": 2500}, None),
    ]


def test_events_are_sent_with_their_ids_from_where_the_reader_left_off(http: TestClient):
    answer = http.get("/api/v1/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.strip().split("\n\n")
    assert blocks[1].split("\n")[:2] == ["id: 4", "event: attached"]
    assert json.loads(blocks[1].split("data: ")[1])["text"] == "attached pid 42 to a"
    assert blocks[2].startswith(":")
    assert http.get("/api/v1/events", headers={"Last-Event-ID": "4"}).text.count("id: ") == 1
    assert http.get("/api/v1/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_steps_are_sent_as_they_begin(http: TestClient, node: FakeNode):
    answer = http.get("/api/v1/steps?vnpu=a&vnpu=b")
    assert node.asked == [["a", "b"]]
    blocks = answer.text.strip().split("\n\n")
    told = json.loads(blocks[1].split("data: ")[1])
    assert (told["vnpu"], told["number"], told["phase"], told["context_sum"]) == ("a", 7, "decode", 900)
    assert blocks[2].startswith(":")
    assert http.get("/api/v1/steps").status_code == 422


def test_a_revision_travels_as_an_etag(http: TestClient, node: FakeNode):
    assert http.get("/api/v1/vnpus/a").headers["etag"] == '"3"'
    answer = http.patch("/api/v1/vnpus/a/quota?wait=2", json={"cores": 6}, headers={"If-Match": '"3"'})
    assert answer.status_code == 200
    assert answer.json() == {"vnpu": "a", "revision": 4, "applied": True, "applied_after_s": 0.25}
    assert node.asked == [("a", {"cores": 6}, 3), 2.0]


def test_what_is_not_applied_yet_is_202(http: TestClient, node: FakeNode):
    node.applies = False
    assert http.patch("/api/v1/vnpus/a/quota", json={"cores": 6}).status_code == 202
    answer = http.post("/api/v1/rebalances", json={"moves": [{"vnpu": "a", "cores": 6}, {"vnpu": "b", "cores": 1}]})
    assert answer.status_code == 202
    assert answer.json() == {"revisions": {"a": 4, "b": 4}, "applied": False, "applied_after_s": None}


def test_a_move_names_cores_share_and_priority_and_what_it_does_not_name_stays(http: TestClient, node: FakeNode):
    moves = [
        {"vnpu": "a", "cores": 24, "share_percent": 40, "priority": 1},
        {"vnpu": "b", "share_percent": None, "priority": None},
        {"vnpu": "c", "cores": 6},
    ]
    assert http.post("/api/v1/rebalances?wait=1", json={"moves": moves}).status_code == 200
    assert node.asked[0] == [
        Move("a", {"cores": 24, "share": 4000, "priority": 1}),
        Move("b", {"share": None}),
        Move("c", {"cores": 6}),
    ]


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
        ("POST", "/api/v1/vnpus", {**NEW, "share_percent": 0}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {**NEW, "share_percent": 0.001}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {**NEW, "share_percent": 101}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {**NEW, "priority": 8}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {**NEW, "fixed_share": True}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {**NEW, "device": 0, "devices": [0]}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {**NEW, "devices": []}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": []}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": [{"vnpu": "a"}]}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": [{"vnpu": "a", "cores": None}]}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": [{"vnpu": "a", "cores": 0}]}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": [{"vnpu": "a", "share_percent": 0}]}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": [{"vnpu": "a", "share_percent": 0.001}]}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": [{"vnpu": "a", "share_percent": 101}]}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": [{"vnpu": "a", "share_percent": "half"}]}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": [{"vnpu": "a", "priority": 8}]}, 422, "invalid_value"),
        ("POST", "/api/v1/rebalances", {"moves": [{"vnpu": "a", "phase": "decode"}]}, 422, "invalid_value"),
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


def test_metrics_are_what_prometheus_reads(http):
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    denied = families["flexnpu_tenant_memory_denied"]
    assert denied.type == "counter"
    (sample,) = denied.samples
    assert (sample.labels, sample.value) == ({"vnpu": "a", "pid": str(TENANT.pid)}, TENANT.memory_denied)
    used = families["flexnpu_vnpu_memory_used_bytes"].samples
    assert [each.labels["device"] for each in used] == [str(use.device) for use in VNPU.use]
    assert all(each.documentation for each in families.values())
