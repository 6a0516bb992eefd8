# SPDX-License-Identifier: Apache-2.0
"""The node's agent as a process, between a real daemon with tenants and an API server in a thread."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from fake_kubernetes import FakeKubernetes
from local_node import GIB, Node, eventually

from device_plugin.cluster.node_npu import PATH
from device_plugin.cluster.probe import ask

POD = "/api/v1/namespaces/team/pods/chat-0"
VNPU = "k8s-0-c0"
LABELS = {"namespace": "team", "pod": "chat-0", "container": "main"}


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    fake = FakeKubernetes()
    fake.put("/api/v1/nodes/n", {"kind": "Node", "spec": {}})
    yield fake
    fake.close()


class Agent:
    """The command, and what Kubernetes sees of it."""

    def __init__(self, node: Node, kubernetes: FakeKubernetes) -> None:
        self.node, self.kubernetes = node, kubernetes
        options = ["--node", "n", "--api-server", kubernetes.url, "--publish-every", "0", "--taint", "NoSchedule"]
        self.services = node.root.parent / "services.yaml"
        command = [sys.executable, "-m", "device_plugin.cluster.command", *options, "--services", str(self.services)]
        self.process = subprocess.Popen(command, env=node.env, stderr=subprocess.PIPE, text=True)

    def status(self) -> dict[str, Any]:
        annotations = self.kubernetes.objects[POD]["metadata"]["annotations"]
        return json.loads(annotations.get("flexnpu.io/status", "{}")).get("main", {})

    def told(self) -> dict[str, Any]:
        assert self.process.poll() is None, self.process.communicate()[1]
        return self.kubernetes.objects.get(f"{PATH}/n", {}).get("status", {})

    def end(self, number: int = signal.SIGTERM) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=20)[1]


@pytest.fixture
def agent(node: Node, kubernetes: FakeKubernetes) -> Iterator[Agent]:
    with node.client() as client:
        client.create_vnpu(VNPU, cores=6, memory_bytes=16 * GIB, labels=LABELS)
    node.fake(VNPU).line()
    meta = {"namespace": "team", "annotations": {}}
    kubernetes.put(POD, {"kind": "Pod", "metadata": meta, "spec": {"containers": [{"name": "main"}]}})
    made = Agent(node, kubernetes)
    eventually(lambda: made.told().get("ready"))
    yield made
    if made.process.poll() is None:
        made.end(signal.SIGKILL)


def test_an_annotation_of_a_running_pod_is_in_force_by_the_watch_alone(agent: Agent):
    eventually(lambda: ("GET", "/api/v1/pods") in agent.kubernetes.requests)
    eventually(lambda: agent.kubernetes.requests.count(("GET", "/api/v1/pods")) == 2)  # the list and the watch
    agent.kubernetes.annotate(POD, cores="9", burst="12", phase="decode")
    status = eventually(lambda: agent.status() if agent.status().get("cores") == 9 else None)
    assert agent.kubernetes.requests.count(("GET", "/api/v1/pods")) == 2, "it does not ask again"
    with agent.node.client() as client:
        vnpu = client.vnpu(VNPU)
        assert (vnpu.cores, vnpu.burst_cores, vnpu.phase, vnpu.applied) == (9, 12, "decode", True)
    assert status["revision"] == vnpu.revision
    assert status["observed"] == {"cores": "9", "burst": "12", "phase": "decode"}
    [event] = eventually(lambda: agent.kubernetes.events)
    assert (event["type"], event["reason"], event["involvedObject"]["name"]) == ("Normal", "QuotaChanged", "chat-0")
    assert "9 cores, up to 12 with idle ones, phase decode" in event["message"]

    agent.kubernetes.annotate(POD, cores=None, burst=None, phase=None, core="3")
    eventually(lambda: agent.status().get("observed") == {} and agent.status()["cores"] == 6)
    eventually(lambda: len(agent.kubernetes.events) == 3)
    unknown = agent.kubernetes.events[-1]
    assert unknown["reason"] == "UnknownAnnotation"
    assert unknown["message"].startswith("nobody reads flexnpu.io/core; known are cores, burst, phase")
    published = eventually(lambda: agent.told()["vnpus"] if agent.told()["coresFree"] == 18 else None)
    assert [(each["pod"], each["container"], each["cores"], each["tenants"]) for each in published] == [
        ("chat-0", "main", 6, 1)
    ]


def test_targets_of_a_service_reach_the_controllers_file(agent: Agent):
    def serves(**wanted: str) -> bool:
        told = yaml.safe_load(agent.services.read_text())["services"].get("chat", {}) if agent.services.exists() else {}
        return wanted.items() <= told.items()

    agent.kubernetes.annotate(POD, service="chat", phase="decode")
    eventually(lambda: any(each["reason"] == "ServiceNotServed" for each in agent.kubernetes.events))
    agent.kubernetes.annotate(POD, phase=None, model="Qwen3-8B", slo_itl="50ms")
    eventually(lambda: serves(itl="50ms"))
    agent.kubernetes.annotate(POD, slo_itl="20ms")
    eventually(lambda: serves(itl="20ms"))
    assert yaml.safe_load(agent.services.read_text())["services"]["chat"]["engine"] == [{"vnpu": VNPU}]
    agent.kubernetes.annotate(POD, slo_itl="soon")
    eventually(lambda: "slo-itl 'soon' is no time" in agent.status().get("error", ""))
    assert serves(itl="20ms"), "a slip ends no service"


def test_cores_that_are_not_free_are_refused_until_they_are(agent: Agent):
    with agent.node.client() as client:
        client.create_vnpu("other", cores=12, memory_bytes=GIB)
        agent.kubernetes.annotate(POD, cores="20")
        status = eventually(lambda: agent.status() if agent.status().get("error") else None)
        assert status["cores"] == 6
        assert "20" in status["error"]
        assert eventually(lambda: agent.kubernetes.events)[0]["reason"] == "QuotaRefused"
        client.delete_vnpu("other")
    eventually(lambda: agent.status().get("cores") == 20 and not agent.status().get("error"))


def test_a_lost_device_is_an_event_of_the_node_and_a_taint(agent: Agent):
    state = agent.node.root / "softnpu/device0"
    state.parent.mkdir(exist_ok=True)
    state.write_bytes(b"\0" * 4096)

    def taints() -> list[str]:
        return [each["key"] for each in agent.kubernetes.objects["/api/v1/nodes/n"]["spec"].get("taints", [])]

    eventually(lambda: taints() == ["flexnpu.io/device-lost"])
    assert agent.told()["devices"][0]["healthy"] is False
    lost = eventually(lambda: [each for each in agent.kubernetes.events if each["involvedObject"]["kind"] == "Node"])
    assert (lost[0]["reason"], lost[0]["type"]) == ("DeviceLost", "Warning")
    state.unlink()
    eventually(lambda: taints() == [])
    assert agent.kubernetes.events[-1]["reason"] == "DeviceBack"


def test_the_daemon_and_the_agent_may_start_anew(agent: Agent):
    agent.kubernetes.annotate(POD, cores="9")
    eventually(lambda: agent.status().get("cores") == 9)
    agent.node.kill()
    eventually(lambda: not agent.told()["ready"])
    assert agent.told()["vnpus"], "what the daemon said last stays"
    agent.node.start()
    eventually(lambda: agent.told()["ready"])
    agent.kubernetes.annotate(POD, cores="8")
    eventually(lambda: agent.status().get("cores") == 8)

    assert "Traceback" not in agent.end()
    with agent.node.client() as client:
        client.set_quota(VNPU, cores=7)  # a controller, while the agent is away
    agent.kubernetes.expire()
    later = Agent(agent.node, agent.kubernetes)
    eventually(lambda: [each["cores"] for each in later.told()["vnpus"]] == [7])
    later.kubernetes.annotate(POD, phase="decode")
    eventually(lambda: later.status().get("phase") == "decode")
    assert later.status()["cores"] == 7, "what was observed before is not set again"
    assert "Traceback" not in later.end()


def test_what_it_is_not_told_is_named():
    command = [sys.executable, "-m", "device_plugin.cluster.command"]
    for options, said in (
        (["--node", "n"], "KUBERNETES_SERVICE_HOST is not set"),
        ([], "give --node"),
        (["--node", "n", "--publish-every", "-1"], "--publish-every -1 is out of range"),
    ):
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False, env={})
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_probe_says_whether_the_daemon_answers(node: Node):
    socket = str(node.root / "admin.sock")
    assert ask(socket, "livez") == ask(socket, "readyz") == ""
    assert ask(socket, "nowhere").startswith("404 ")
    node.kill()
    assert ask(socket, "livez").startswith(f"no daemon answers at {socket}")
