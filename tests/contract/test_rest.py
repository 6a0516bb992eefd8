# SPDX-License-Identifier: Apache-2.0
"""The admin API: its models, its answers, its errors. The app runs in this process, on a node that is not there."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields
from pathlib import Path

import pytest
from fake_api_node import GIB, VNPU, FakeNode
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from flexnpu.api import models
from flexnpu.api.access import Access
from flexnpu.api.app import create_app
from flexnpu.api.callers import Peer, TcpPeer, UnixPeer
from flexnpu.tenancy import (
    DeviceView,
    EventView,
    GraphView,
    IterationView,
    Move,
    Quota,
    TenantView,
    UseView,
    VNpu,
    VNpuView,
)

NEW = {"name": "b", "cores": 1, "memory_bytes": 1}
ANY = {"If-Match": "*"}
STATE = {
    "mode": "split",
    "moves": True,
    "devices": [0],
    "services": [{"name": "chat", "model": "qwen", "ttft_s": 1, "itl_s": 0.05, "prefill": ["a"], "decode": ["b"]}],
    "config": {"period": 0.05},
}
DECISION = {
    "number": 3,
    "device": 0,
    "mode": "split",
    "before": {"a": {"cores": 12}, "b": {"cores": 12}},
    "after": {"a": {"cores": 18, "share_percent": None}, "b": {"cores": 6}},
    "moved": True,
    "reason": "prompts wait",
    "services": [
        {
            "service": "chat",
            "mode": "split",
            "grants": {"a": {"cores": 18}, "b": {"cores": 6}},
            "inputs": {"waiting": 3},
            "reason": "prompts wait",
            "forecast": {"decode": 0.03},
            "alternatives": [{"split": {"prefill": 17, "decode": 7}}],
        }
    ],
    "scale": 2.5,
}


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def http(node: FakeNode) -> TestClient:
    return connected(create_app(node, 1), UnixPeer(os.geteuid(), 99))


def connected(app: FastAPI, peer: Peer) -> TestClient:
    client = TestClient(app, raise_server_exceptions=False)
    client.app_state["peer"] = peer
    return client


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
    assert http.get("/api/v1/devices").json()["items"][0]["environment"] == {"A": "b"}
    assert http.get("/api/v1/devices/0").json()["soc"] == "Ascend910B2"
    (vnpu,) = http.get("/api/v1/vnpus").json()["items"]
    assert (vnpu["id"], vnpu["applied_revision"], vnpu["use"][0]["memory_peak"]) == (7, 3, 2 * GIB)
    (tenant,) = http.get("/api/v1/tenants").json()["items"]
    assert tenant["launches"] == {"kernel": 5}
    assert tenant["graphs"] == [{"device": 0, "cores": 12, "vector_cores": 24, "replays": 9}]
    assert tenant["iteration"]["context_most"] == 1024
    assert http.get("/api/v1/tenants?vnpu=b").json() == {"items": [], "next_cursor": None}
    assert set(http.get("/version").json()) == {"version", "page_version", "api_version"}


def test_a_list_goes_on_where_its_cursor_says(http: TestClient, node: FakeNode):
    node.others = 4
    seen, cursor = [], ""
    while cursor is not None:
        page = http.get(f"/api/v1/vnpus?limit=2{cursor and f'&cursor={cursor}'}").json()
        assert len(page["items"]) <= 2
        seen += [vnpu["id"] for vnpu in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [7, 8, 9, 10, 11]
    assert http.get("/api/v1/vnpus?limit=5").json()["next_cursor"] is None


@pytest.mark.parametrize("path", ["vnpus", "devices", "tenants", "controller/decisions"])
def test_a_cursor_that_nobody_gave_is_malformed(http: TestClient, path: str):
    assert http.get(f"/api/v1/{path}?cursor=%C3%A4").status_code == 400


def test_health_is_open_to_all_and_says_when_nothing_can_be_changed(node: FakeNode):
    stranger = connected(create_app(node, 1), TcpPeer("10.0.0.1"))
    for path in ("/livez", "/readyz", "/healthz"):
        assert stranger.get(path).json() == {"status": "ok"}
    node.broken = True
    assert stranger.get("/livez").status_code == 200
    for path in ("/readyz", "/healthz"):
        answer = stranger.get(path)
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (
            503,
            "registry_error",
            "1",
        )


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
    change = {"burst_cores": None, "share_percent": None, "priority": None, "fixed_share": False}
    assert http.patch("/api/v1/vnpus/a/quota", json=change, headers=ANY).status_code == 200
    assert http.patch("/api/v1/vnpus/a/quota", json={"share_percent": 25}, headers=ANY).status_code == 200
    assert http.patch("/api/v1/vnpus/a/quota", json={"cores": None}, headers=ANY).status_code == 422
    asked = [each for each in node.asked if isinstance(each, tuple)]
    assert asked == [
        ("a", {"burst_cores": None, "share": None, "fixed_share": False, "priority": 0}, None),
        ("a", {"share": 2500}, None),
    ]


def test_events_are_sent_with_their_ids_from_where_the_reader_left_off(http: TestClient):
    answer = http.get("/api/v1/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.strip().split("\n\n")
    assert blocks[0] == ": listening\nretry: 1000"
    assert blocks[1].split("\n")[:2] == ["id: 4", "event: attached"]
    assert json.loads(blocks[1].split("data: ")[1])["text"] == "attached pid 42 to a"
    assert blocks[2].startswith(":")
    assert http.get("/api/v1/events", headers={"Last-Event-ID": "4"}).text.count("id: ") == 1
    assert http.get("/api/v1/events", headers={"Last-Event-ID": "x"}).status_code == 400


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
    assert http.get("/api/v1/vnpus/a/quota").headers["etag"] == '"3"'
    answer = http.patch("/api/v1/vnpus/a/quota?wait=2s", json={"cores": 6}, headers={"If-Match": '"3"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"4"')
    told = answer.json()
    assert (told["desired_revision"], told["observed_revision"], told["applied_after_s"]) == (4, 4, 0.25)
    assert node.asked[-2:] == [("a", {"cores": 6}, 3), 2.0]
    stale = http.patch("/api/v1/vnpus/a/quota", json={"cores": 7}, headers={"If-Match": '"3"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "revision_changed")


@pytest.mark.parametrize("path", ["/api/v1/vnpus/a", "/api/v1/vnpus/a/quota"])
@pytest.mark.parametrize(
    ("tag", "status", "code"),
    [
        (None, 428, "revision_missing"),
        ("3", 400, "malformed"),
        ('"x"', 400, "malformed"),
        ('"3", "4"', 400, "malformed"),
        ('W/"3"', 412, "revision_changed"),
    ],
)
def test_a_change_says_which_revision_it_is_of(  # noqa: PLR0917 - the columns of the tables above
    http: TestClient, node: FakeNode, path, tag, status, code
):
    answer = http.patch(path, json={}, headers={} if tag is None else {"If-Match": tag})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert node.asked == []


def test_the_phase_is_changed_as_the_quota_is(http: TestClient, node: FakeNode):
    answer = http.patch("/api/v1/vnpus/a", json={"phase": "decode"}, headers={"If-Match": '"3"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"4"')
    assert node.asked == [("a", "decode", 3)]


def test_what_is_not_applied_yet_is_202_and_names_an_operation(http: TestClient, node: FakeNode):
    node.applies = False
    answer = http.patch("/api/v1/vnpus/a/quota", json={"cores": 6}, headers=ANY)
    told = answer.json()
    assert (answer.status_code, told["desired_revision"], told["observed_revision"]) == (202, 4, 3)
    where = answer.headers["location"]
    assert where == f"/api/v1/operations/{told['operation']}"
    assert http.get(where).json() == {
        "id": told["operation"],
        "revisions": {"a": 4},
        "done": False,
        "applied_after_s": None,
    }
    node.applies = True
    assert http.get(f"{where}?wait=1s").json()["done"]


@pytest.mark.parametrize("operation", ["7.5", "8.1", "x", "7", "7.4-", "7.99999999999999999999"])
def test_an_operation_that_nobody_was_told_of_does_not_exist(http: TestClient, operation: str):
    assert http.get(f"/api/v1/operations/{operation}").status_code == 404


def test_a_rebalance_may_be_tried_without_doing_it(http: TestClient, node: FakeNode):
    moves = {"moves": [{"vnpu": "a", "cores": 6}]}
    answer = http.post("/api/v1/rebalances?dry_run=true", json=moves)
    assert (answer.status_code, answer.json()["dry_run"], answer.json()["revisions"]) == (200, True, {"a": 4})
    assert node.asked == [([Move("a", {"cores": 6})], True)]
    node.applies = False
    answer = http.post("/api/v1/rebalances", json=moves)
    assert (answer.status_code, answer.json()["operation"]) == (202, "7.4")


def test_a_move_names_cores_share_and_priority_and_what_it_does_not_name_stays(http: TestClient, node: FakeNode):
    node.others = 2
    moves = [
        {"vnpu": "a", "cores": 24, "share_percent": 40, "priority": 1},
        {"vnpu": "v8", "share_percent": None, "priority": None},
        {"vnpu": "v9", "cores": 6},
    ]
    assert http.post("/api/v1/rebalances?wait=1s", json={"moves": moves}).status_code == 200
    asked, _ = node.asked[0]
    assert asked == [
        Move("a", {"cores": 24, "share": 4000, "priority": 1}),
        Move("v8", {"share": None}),
        Move("v9", {"cores": 6}),
    ]


def test_delete_can_be_forced(http: TestClient, node: FakeNode):
    assert http.delete("/api/v1/vnpus/a").status_code == 204
    assert http.delete("/api/v1/vnpus/a?force=true", headers={"If-Match": '"3"'}).status_code == 204
    assert node.asked == [("a", None, False), ("a", 3, True)]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/api/v1/vnpus", {"name": "a", "cores": 1, "memory_bytes": 1}, 409, "name_taken"),
        ("POST", "/api/v1/vnpus", {"name": "b", "cores": 13, "memory_bytes": 1}, 422, "over_quota"),
        ("POST", "/api/v1/vnpus", {"name": "b", "cores": 0, "memory_bytes": 1}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {"name": "b", "cores": 2**70, "memory_bytes": 1}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", {"name": "b", "cores": 1, "memory_bytes": 1, "color": 1}, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", None, 422, "invalid_value"),
        ("POST", "/api/v1/vnpus", "{", 400, "malformed"),
        ("POST", "/api/v1/vnpus", "x" * (1 << 20 | 1), 413, "too_large"),
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
        ("PATCH", "/api/v1/vnpus/a/quota?wait=2h", {"cores": 1}, 422, "invalid_value"),
        ("GET", "/api/v1/devices/1", None, 404, "unknown_device"),
        ("GET", "/api/v1/controller/none", None, 404, "not_found"),
        ("PUT", "/api/v1/controller/decisions", STATE, 422, "invalid_value"),
        ("POST", "/api/v1/controller/none/decisions", {"decisions": [DECISION]}, 404, "not_found"),
        ("GET", "/api/v1/controller/decisions/1", None, 404, "not_found"),
        (
            "POST",
            "/api/v1/forecast",
            {"model": "/etc/passwd", "soc": "Ascend910B2", "decode": ["1"]},
            422,
            "invalid_value",
        ),
        ("DELETE", "/api/v1/devices", None, 405, "http_error"),
        ("GET", "/api/v1/vnpus/b", None, 404, "unknown_vnpu"),
        ("GET", "/nothing", None, 404, "http_error"),
    ],
)
def test_every_error_is_a_problem(  # noqa: PLR0917 - the columns of the table above
    http: TestClient, method: str, path: str, body, status: int, code: str
):
    told = {"content": body, "headers": {"Content-Type": "application/json", **ANY}}
    answer = http.request(method, path, **(told if isinstance(body, str) else {"json": body, "headers": ANY}))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = models.Problem.model_validate(answer.json())
    assert (problem.status, problem.code) == (status, code)
    assert "\n" not in problem.detail
    assert problem.next_step
    assert problem.instance == f"urn:flexnpu:request:{answer.headers['x-request-id']}"


def test_what_a_path_allows_is_all_that_it_does(http: TestClient):
    answer = http.request("OPTIONS", "/api/v1/vnpus/a")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, PATCH")


def test_a_number_is_a_number(http: TestClient):
    for cores in ("4", True, 4.5):
        assert http.post("/api/v1/vnpus", json={**NEW, "cores": cores}).status_code == 422


def test_limits_are_on_the_wire(http: TestClient):
    problem = http.post("/api/v1/vnpus", json={"name": "b", "cores": 13, "memory_bytes": 1}).json()
    assert (problem["limit"], problem["used"], problem["requested"]) == (24, 12, 13)


def test_the_committed_description_is_that_of_the_app(http: TestClient):
    committed = Path(__file__).parents[2] / "docs/openapi.json"
    assert json.loads(committed.read_text(encoding="utf-8")) == http.get("/openapi.json").json(), (
        "write it anew: python -m flexnpu.api.describe > docs/openapi.json"
    )


def test_a_request_keeps_its_id_or_gets_one(http: TestClient):
    assert http.get("/livez", headers={"X-Request-Id": "mine.1"}).headers["x-request-id"] == "mine.1"
    made = {http.get("/livez", headers={"X-Request-Id": "a b"}).headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert "a b" not in made


def test_the_same_key_gets_the_same_answer_and_does_nothing_more(http: TestClient, node: FakeNode):
    key = {"Idempotency-Key": "k1"}
    first = http.post("/api/v1/vnpus", json=NEW, headers=key)
    again = http.post("/api/v1/vnpus", json=NEW, headers=key)
    assert (first.status_code, len(node.asked)) == (201, 1)
    assert (again.status_code, again.json(), again.headers["etag"]) == (201, first.json(), first.headers["etag"])
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    other = http.post("/api/v1/vnpus", json={**NEW, "cores": 2}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    assert http.post("/api/v1/vnpus", json=NEW, headers={"Idempotency-Key": "\x7f"}).status_code == 400
    # A refusal is an answer too.
    taken = [http.post("/api/v1/vnpus", json={**NEW, "name": "a"}, headers={"Idempotency-Key": "k2"}) for _ in "12"]
    assert [each.status_code for each in taken] == [409, 409]
    assert len(node.asked) == 2


def test_each_change_is_a_line_of_the_log(http: TestClient, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", logger="flexnpud")
    headers = {"If-Match": '"3"', "X-Reason": "night\tshift", "X-Request-Id": "r1"}
    http.patch("/api/v1/vnpus/a/quota", json={"cores": 6}, headers=headers)
    http.patch("/api/v1/vnpus/a/quota", json={"cores": 6}, headers=headers)
    http.get("/api/v1/vnpus")
    done, refused = [json.loads(text.removeprefix("audit ")) for text in caplog.messages if text.startswith("audit ")]
    assert (done["action"], done["target"], done["outcome"], done["request"]) == ("quota", "a", "done", "r1")
    assert (done["who"], done["reason"]) == ({"uid": os.geteuid(), "pid": 99}, "night\tshift")
    assert (done["old"]["revision"], done["new"]["revision"]) == (3, 4)
    assert (refused["outcome"], refused["new"]) == ("revision_changed", None)


def test_a_line_of_the_log_is_never_longer_than_a_pipe_takes_as_a_whole(http, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", logger="flexnpud")
    service = STATE["services"][0]
    many = {**STATE, "services": [{**service, "name": f"s{number}", "prefill": ["a" * 60] * 9} for number in range(64)]}
    assert http.put("/api/v1/controller/one", json=many).status_code == 200
    (line,) = [text for text in caplog.messages if text.startswith("audit ")]
    assert len(line) < 4096
    assert json.loads(line.removeprefix("audit "))["left_out_bytes"] > 4096


def test_a_rebalance_is_a_line_for_each_vnpu(http: TestClient, node: FakeNode, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", logger="flexnpud")
    node.others = 1
    http.post("/api/v1/rebalances", json={"moves": [{"vnpu": "a", "cores": 6}, {"vnpu": "v8", "cores": 8}]})
    lines = [json.loads(text.removeprefix("audit ")) for text in caplog.messages if text.startswith("audit ")]
    assert [(line["action"], line["target"], line["outcome"]) for line in reversed(lines)] == [
        ("rebalance", "a", "done"),
        ("rebalance", "v8", "done"),
    ]


def test_a_controller_of_somebody_else_keeps_its_name_while_it_lives(node: FakeNode):
    app = create_app(node, 1, Access(admin_gid=7))
    ours, theirs = connected(app, UnixPeer(os.geteuid(), 99)), connected(app, UnixPeer(12345, 100, {7}))
    assert ours.put("/api/v1/controller/one", json={**STATE, "renew_within_s": 0.1}).status_code == 200
    assert theirs.put("/api/v1/controller/one", json=STATE).status_code == 409
    assert connected(app, UnixPeer(os.geteuid(), 101)).put("/api/v1/controller/one", json=STATE).status_code == 200
    stranger = connected(app, UnixPeer(12346, 102))
    assert stranger.get("/api/v1/controller").status_code == 403


def test_a_controller_is_seen_by_what_it_tells(http: TestClient, node: FakeNode):
    told = http.put("/api/v1/controller/one", json=STATE).json()
    assert (told["live"], told["mode"], told["services"][0]["ttft_s"], told["decisions"]) == (True, "split", 1, 0)
    outcome = {"decision": 3, "service": "chat", "held_seconds": 0.5}
    kept = http.post("/api/v1/controller/one/decisions", json={"decisions": [DECISION]}).json()
    assert http.post("/api/v1/controller/one/decisions", json={"outcomes": [outcome]}).json()["outcomes"] == 1
    (decision,) = http.get("/api/v1/controller/decisions?device=0&moved=true").json()["items"]
    assert (decision["controller"], decision["reason"], decision["scale"]) == ("one", "prompts wait", 2.5)
    assert decision["services"][0]["alternatives"] == [{"split": {"prefill": 17, "decode": 7}}]
    assert decision["outcomes"] == [outcome]
    assert http.get(f"/api/v1/controller/decisions/{kept['decisions'][0]}").json() == decision
    assert http.get("/api/v1/controller/decisions?device=1").json()["items"] == []
    ((kind, text),) = node.asked
    assert kind == "decided"
    assert "by one on device 0: a 12 -> 18, b 12 -> 6; prompts wait" in text
    assert http.delete("/api/v1/controller/one").status_code == 204
    assert http.get("/api/v1/controller").json()["items"] == []
    assert http.get("/api/v1/controller/decisions").json()["items"] == [decision]


def test_a_forecast_answers_what_if(http: TestClient):
    question = {"model": "Qwen2.5-7B", "soc": "Ascend910B2", "cores": 6, "decode": ["64x4096"]}
    few = http.post("/api/v1/forecast", json=question).json()
    many = http.post("/api/v1/forecast", json={**question, "cores": 24}).json()
    assert 0 < many["seconds"] < few["seconds"]
    assert (few["cores"], few["tokens"], few["soc"]) == (6, 64, "Ascend910B2")
    assert sum(each["seconds"] for each in few["operators"].values()) == pytest.approx(few["seconds"])
    for wrong in (
        {"decode": []},
        {"cores": 25},
        {"decode": ["99999x1", "1x1"]},
        {"prefill": ["99999999"]},
        {"soc": "x"},
    ):
        answer = http.post("/api/v1/forecast", json={**question, **wrong})
        assert (answer.status_code, answer.json()["status"]) == (422, 422), wrong


def test_metrics_are_what_prometheus_reads(http: TestClient):
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    denials = families["flexnpu_denials"]
    assert denials.type == "counter"
    assert {(each.labels["vnpu"], each.labels["reason"]): each.value for each in denials.samples} == {
        ("", "bad_hello"): 1,
        ("a", "memory"): 2,
        ("a", "quota"): 0,
    }
    used = families["flexnpu_vnpu_memory_used_bytes"].samples
    assert [each.labels["device"] for each in used] == [str(use.device) for use in VNPU.use]


def test_what_a_controller_has_counted_is_in_the_metrics_and_in_no_audit_line(
    http: TestClient, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", logger="flexnpud")
    totals = {
        "decisions": [{"device": 0, "reason": "both", "decisions": 5, "moves": {"applied": 3}}],
        "services": [{"service": "chat", "output_tokens": 100, "output_tokens_in_time": 90}],
    }
    for counted in ({}, totals):
        assert http.put("/api/v1/controller/one", json={**STATE, "totals": counted}).status_code == 200
    page = http.get("/metrics").text
    assert 'flexnpu_controller_decisions_total{controller="one",device="0"' in page
    assert re.search(r'flexnpu_service_output_tokens_in_time_total\{.*service="chat".*\} 90\.0', page)
    assert len([text for text in caplog.messages if text.startswith("audit ")]) == 1
    wrong = {"decisions": [{"device": 0, "reason": "a whim", "decisions": 1}]}
    assert http.put("/api/v1/controller/one", json={**STATE, "totals": wrong}).status_code == 422
