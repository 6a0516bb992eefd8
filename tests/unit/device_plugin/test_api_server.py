# SPDX-License-Identifier: Apache-2.0
"""Watches, conflicts and refusals, against an API server in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_kubernetes import FakeKubernetes

from device_plugin.cluster.api_server import ApiError, ApiServer, UnreachableError, Where
from device_plugin.cluster.node_npu import PATH, Publisher
from device_plugin.cluster.reflector import Key, Reflector
from device_plugin.cluster.taint import Taint
from device_plugin.cluster.work import Work
from flexnpu.errors import InvalidValue

POD = "/api/v1/namespaces/default/pods/a"
KEY: Key = ("default", "a")


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    fake = FakeKubernetes()
    fake.put("/api/v1/nodes/n", {"kind": "Node", "spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}]}})
    yield fake
    fake.close()


@pytest.fixture
def api(kubernetes: FakeKubernetes) -> Iterator[ApiServer]:
    server = ApiServer(Where(kubernetes.url))
    yield server
    server.close()


def pod(**annotations: str) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"namespace": "default", "annotations": annotations}}


def eventually(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (value := condition()):
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.005)
    return value


@pytest.fixture
def reflector(api: ApiServer, kubernetes: FakeKubernetes) -> Iterator[Reflector]:
    kubernetes.put(POD, pod())
    told: list[Key] = []
    made = Reflector(api, "/api/v1/pods", {"fieldSelector": "spec.nodeName=n"}, told.append)
    made.told = told  # type: ignore[attr-defined] - for the tests
    made.start()
    assert made.synced.wait(20)
    yield made
    made.stop()


def annotations(reflector: Reflector) -> dict[str, str]:
    found = reflector.get(KEY)
    return found["metadata"]["annotations"] if found else {}


def lists(kubernetes: FakeKubernetes) -> int:
    return kubernetes.requests.count(("GET", "/api/v1/pods"))


def test_what_changes_is_told_and_kept(reflector: Reflector, kubernetes: FakeKubernetes):
    eventually(lambda: reflector.told == [KEY])
    kubernetes.annotate(POD, cores="8")
    eventually(lambda: annotations(reflector) == {"flexnpu.io/cores": "8"})
    kubernetes.delete(POD)
    eventually(lambda: reflector.get(KEY) is None)
    eventually(lambda: reflector.told == [KEY] * 3)


def test_a_watch_that_breaks_off_goes_on_where_it_was(reflector: Reflector, kubernetes: FakeKubernetes):
    eventually(lambda: lists(kubernetes) == 2)  # the list and the watch
    kubernetes.break_watches()
    kubernetes.annotate(POD, cores="8")
    eventually(lambda: annotations(reflector) == {"flexnpu.io/cores": "8"})
    assert reflector.told == [KEY, KEY], "it was not listed anew"


def test_a_version_that_is_gone_is_listed_anew(reflector: Reflector, kubernetes: FakeKubernetes):
    eventually(lambda: lists(kubernetes) == 2)
    kubernetes.put("/api/v1/namespaces/default/pods/b", pod())
    eventually(lambda: len(reflector.all()) == 2)
    kubernetes.expire()
    with kubernetes._lock:
        kubernetes.objects.pop("/api/v1/namespaces/default/pods/b")
        kubernetes.annotate(POD, cores="9")
        kubernetes._history.clear()
    eventually(lambda: annotations(reflector) == {"flexnpu.io/cores": "9"} and len(reflector.all()) == 1)
    assert ("default", "b") in reflector.told[-2:], "what went meanwhile is told, too"


def test_a_server_that_refuses_or_is_gone_is_asked_again(api: ApiServer, kubernetes: FakeKubernetes):
    kubernetes.put(POD, pod())
    kubernetes.refuse["GET"] = [500, 403]
    reflector = Reflector(api, "/api/v1/pods", {}, lambda key: None)
    reflector.start()
    assert reflector.synced.wait(20)
    assert reflector.get(KEY)
    reflector.stop()


def test_the_token_is_read_with_each_request(kubernetes: FakeKubernetes, tmp_path: Path):
    token = tmp_path / "token"
    api = ApiServer(Where(kubernetes.url, token_file=token))
    with pytest.raises(UnreachableError, match=r"token file .* cannot be read"):
        api.get("/api/v1/nodes/n")
    token.write_text("fresh\n")
    assert api.get("/api/v1/nodes/n")["kind"] == "Node"
    assert kubernetes.tokens[-1] == "Bearer fresh"


def test_outside_of_a_pod_the_options_are_named():
    with pytest.raises(InvalidValue, match=r"KUBERNETES_SERVICE_HOST is not set.*--api-server"):
        Where.in_cluster({})
    where = Where.in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, Path("/s"))
    assert where == Where("https://[fd00::1]:6443", Path("/s/token"), Path("/s/ca.crt"))


def test_a_refusal_says_whose_word_it_is(api: ApiServer, kubernetes: FakeKubernetes):
    kubernetes.refuse["GET"] = [403]
    with pytest.raises(ApiError, match="see the role") as caught:
        api.get("/api/v1/nodes/n")
    assert caught.value.http == 403


def test_the_node_is_published_once_for_each_change(api: ApiServer, kubernetes: FakeKubernetes):
    publisher = Publisher(api, "n")
    assert publisher.publish({"cores": 24}, ready=True)
    assert not publisher.publish({"cores": 24}, ready=True)
    assert publisher.publish({"cores": 24}, ready=False, why="no daemon")
    made = kubernetes.objects[f"{PATH}/n"]
    assert made["status"]["cores"] == 24
    assert made["status"]["message"] == "no daemon"
    assert made["metadata"]["ownerReferences"][0]["uid"] == kubernetes.objects["/api/v1/nodes/n"]["metadata"]["uid"]


def test_a_node_that_another_agent_has_made_meanwhile_is_written_to(api: ApiServer, kubernetes: FakeKubernetes):
    kubernetes.put(f"{PATH}/n", {"status": {"cores": 1}})
    kubernetes.refuse["PATCH"] = [404]  # it was not there yet when the first write came
    assert Publisher(api, "n").publish({"cores": 24}, ready=True)
    assert kubernetes.objects[f"{PATH}/n"]["status"]["cores"] == 24


def test_a_taint_comes_and_goes_beside_others(api: ApiServer, kubernetes: FakeKubernetes):
    taint = Taint(api, "n", "NoSchedule")

    def keys() -> list[str]:
        return [each["key"] for each in kubernetes.objects["/api/v1/nodes/n"]["spec"]["taints"]]

    taint.hold(lost=True)
    assert keys() == ["mine", "flexnpu.io/device-lost"]
    taint.hold(lost=False)
    taint.hold(lost=False)
    assert keys() == ["mine"]
    assert kubernetes.requests.count(("PATCH", "/api/v1/nodes/n")) == 2


def test_a_node_without_taints_is_left_as_it_is_where_nothing_is_lost(api: ApiServer, kubernetes: FakeKubernetes):
    kubernetes.put("/api/v1/nodes/n", {"kind": "Node", "spec": {}})
    Taint(api, "n", "NoSchedule").hold(lost=False)
    assert ("PATCH", "/api/v1/nodes/n") not in kubernetes.requests


def test_a_taint_that_comes_in_between_is_not_lost(api: ApiServer, kubernetes: FakeKubernetes):
    class Meanwhile(ApiServer):
        def get(self, path: str) -> dict[str, Any]:
            answer = super().get(path)
            node = {"kind": "Node", "spec": {"taints": [{"key": "new", "effect": "NoExecute"}]}}
            kubernetes.put(path, node)
            return answer

    with pytest.raises(ApiError) as refused:
        Taint(Meanwhile(Where(kubernetes.url)), "n", "NoSchedule").hold(lost=True)
    assert refused.value.http == 409
    taint = Taint(api, "n", "NoSchedule")
    taint.hold(lost=True)
    keys = [each["key"] for each in kubernetes.objects["/api/v1/nodes/n"]["spec"]["taints"]]
    assert keys == ["new", "flexnpu.io/device-lost"]


def test_work_is_taken_once_and_at_its_time():
    now = [0.0]
    work: Work[str] = Work(lambda: now[0])
    work.add("later", 5)
    work.add("a")
    work.add("a", 3)
    assert work.take() == "a"
    now[0] = 6.0
    assert work.take() == "later"
    work.close()
    assert work.take() is None
