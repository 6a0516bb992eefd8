# SPDX-License-Identifier: Apache-2.0
"""The chart on a real kubelet, API server, scheduler and etcd. Pods are containers that run on vNPUs of two software
NPUs, of 24 cores and 64 GiB each."""

from __future__ import annotations

import datetime
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from machine import NODE, Machine, eventually
from release import CORES, MEMORY, NAMESPACE, ROOT, Pod, Release, delete_pods

ALL = 48
IN_CONTROLLER = ("exec", "ds/flexnpu-plugin", "-n", NAMESPACE, "-c", "controller", "--")
MANIFESTS = sorted(file for name in ("manifests", "examples") for file in (ROOT / "deploy" / name).glob("*.yaml"))
AGENT = f"system:serviceaccount:{NAMESPACE}:flexnpu-agent"


@pytest.fixture(scope="session")
def release(cluster: Machine) -> Release:
    made = Release(cluster)
    made.install()
    eventually(lambda: cluster.allocatable(CORES) == ALL, what="48 cores")
    return made


@pytest.fixture(autouse=True)
def said(release: Release, request: pytest.FixtureRequest) -> Iterator[None]:
    """After a failure, what the parts said; after each test, no pods and nothing that was made for them."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(release.logs())
    delete_pods(release.machine)
    eventually(lambda: not npu(release.machine).get("vnpus"), what="a node without vNPUs")


@pytest.fixture
def machine(release: Release) -> Machine:
    return release.machine


def npu(machine: Machine) -> dict[str, Any]:
    """What the node publishes; empty before it has."""
    found = machine.kubectl("get", "nodenpu", NODE, "--ignore-not-found", "-o", "json")
    return json.loads(found or "{}").get("status", {})


def test_a_node_offers_its_devices_and_publishes_them(machine: Machine):
    node = machine.get("node", NODE)["status"]
    assert (node["capacity"][CORES], node["capacity"][MEMORY]) == ("48", "128")
    assert node["capacity"]["flexnpu.io/device"] == "2"
    status = eventually(lambda: npu(machine) if npu(machine).get("ready") else None)
    assert (status["cores"], status["coresFree"], status["memoryFreeBytes"]) == (48, 48, 128 * 2**30)
    assert [device["soc"] for device in status["devices"]] == ["Ascend910B2", "Ascend910B2"]
    machine.show("get", "pods", "-n", NAMESPACE)
    short = ("cores", "memory", "vnpu", "device")
    columns = ",".join(rf"{each.upper()}:.status.allocatable.flexnpu\.io/{each}" for each in short)
    machine.show("get", "nodes", "-o", f"custom-columns=NAME:.metadata.name,{columns}")
    machine.show("get", "nodenpus")


def test_eight_pods_share_two_devices_and_the_ninth_waits(machine: Machine):
    pods = [Pod(machine, f"p{number}").create() for number in range(8)]
    for pod in pods:
        pod.says(cores=6, gib=16.0)
    assert {pod.phase for pod in pods} == {"Running"}
    by_device = [
        vnpu["devices"]
        for vnpu in eventually(lambda: npu(machine)["vnpus"] if npu(machine)["coresFree"] == 0 else None)
    ]
    assert sorted(by_device) == [[0]] * 4 + [[1]] * 4
    ninth = Pod(machine, "ninth").create()
    why = eventually(
        lambda: [each for each in ninth.get()["status"].get("conditions", []) if each["status"] == "False"]
    )
    assert ninth.phase == "Pending"
    assert f"Insufficient {CORES}" in why[0]["message"]
    machine.show("get", "pods")
    machine.show("get", "events", "--field-selector", "involvedObject.name=ninth,reason=FailedScheduling")
    machine.kubectl("delete", "pod", "p3", "--wait=true")
    ninth.says(cores=6, gib=16.0)


def test_slots_and_whole_devices_are_vnpus_too(machine: Machine):
    Pod(machine, "slot").create_with(vnpu=1).says(cores=3, gib=8.0)
    Pod(machine, "whole").create_with(device=1).says(cores=24, gib=64.0)
    eventually(lambda: {each["pod"]: each["devices"] for each in npu(machine)["vnpus"]} == {"slot": [0], "whole": [1]})
    eventually(lambda: machine.allocatable("flexnpu.io/device") == 1, what="no device but the one that is given")


def test_cores_and_memory_that_are_free_on_different_devices_are_refused_with_what_is_free(machine: Machine):
    Pod(machine, "memory-left").create(cores=18, memory=16).says(cores=18, gib=16.0)
    Pod(machine, "cores-left").create(cores=7, memory=56).says(cores=7, gib=56.0)
    refused = Pod(machine, "across").create(cores=12, memory=32)
    status = eventually(lambda: refused.get()["status"] if refused.phase == "Failed" else None, what="a refusal")
    assert status["reason"] == "UnexpectedAdmissionError"
    free = "free are 6 cores and 48 GiB on device 0; 17 cores and 8 GiB on device 1"
    assert "12 cores and 32 GiB do not fit device 1" in status["message"]
    assert free in status["message"]
    told = eventually(lambda: [each for each in _events(machine, "across").splitlines() if free in each])
    assert "UnexpectedAdmissionError" in told[0]
    machine.show("get", "events", "--field-selector", "involvedObject.name=across,reason=UnexpectedAdmissionError")
    Pod(machine, "on-one").create(cores=17, memory=8).says(cores=17, gib=8.0)


def test_two_pods_on_one_device_see_their_own_vnpus_and_nothing_else(machine: Machine):
    pod, other = Pod(machine, "one").create(), Pod(machine, "two").create(cores=12, memory=32)
    pod.says(cores=6, gib=16.0)
    other.says(cores=12, gib=32.0)
    seen = machine.kubectl(
        "exec", "one", "--", "/usr/bin/python3", "-c", "import os; print(dict(os.environ), os.listdir('/run/flexnpu'))"
    )
    assert "LD_PRELOAD" in seen
    assert "admin.sock" not in seen
    assert "attach.sock" in seen
    assert "ALL_PROXY" not in seen
    vnpus = eventually(lambda: npu(machine)["vnpus"] if len(npu(machine)["vnpus"]) == 2 else None)
    assert {(each["pod"], each["container"]) for each in vnpus} == {("one", "main"), ("two", "main")}
    assert [each["devices"] for each in vnpus] == [[0], [0]]
    machine.show("get", "pods")
    machine.show("logs", "one")
    machine.show("logs", "two")
    each = "{.pod}/{.container}: {.cores} cores, {.memoryBytes} bytes on devices {.devices}"
    machine.show("get", "nodenpu", NODE, "-o", f"jsonpath={{range .status.vnpus[*]}}{each}{{'\\n'}}{{end}}")


def test_init_and_sidecar_containers_have_vnpus_of_their_own(machine: Machine):
    pod = Pod(machine, "several").create(init=(10, 20), side=(3, 8))
    pod.says(cores=6, gib=16.0)
    pod.says("side", cores=3, gib=8.0)
    pod.says("init", cores=10, gib=20.0)
    there = eventually(lambda: npu(machine)["vnpus"] if len(npu(machine)["vnpus"]) == 2 else None)
    assert {each["container"]: each["cores"] for each in there} == {"main": 6, "side": 3}
    pod.annotate(**{"cores.side": "5"})
    pod.says("side", cores=5)
    assert pod.lines()[-1]["cores"] == 6


def test_annotations_of_a_running_pod_change_its_quota_within_a_second(machine: Machine):
    pod = Pod(machine, "live").create()
    pod.says(cores=6)
    eventually(lambda: npu(machine)["vnpus"] and npu(machine)["vnpus"][0].get("pod"), what="whose the vNPU is")
    took = []
    for cores in (9, 4, 12):
        began = time.time()
        pod.annotate(cores=str(cores))
        took.append(pod.says(cores=cores)["at"] - began)
    print("from kubectl annotate to the program:", ", ".join(f"{each * 1e3:.0f} ms" for each in took))
    assert min(took) < 1.0
    status = eventually(lambda: pod.status() if pod.status().get("cores") == 12 else None)
    assert status["applied"]
    pod.annotate(cores="60")
    eventually(lambda: pod.status().get("error"))
    assert pod.status()["cores"] == 12
    pod.annotate(cores=None, phase="decode")
    pod.says(cores=6)
    eventually(lambda: [vnpu.get("phase") for vnpu in npu(machine)["vnpus"]] == ["decode"])
    told = eventually(lambda: _events(machine, "live") if "QuotaRefused" in _events(machine, "live") else None)
    assert "QuotaChanged" in told
    machine.show("get", "events", "--field-selector", "involvedObject.name=live,source=flexnpu-node-agent")


def _events(machine: Machine, pod: str) -> str:
    return machine.kubectl("get", "events", "--field-selector", f"involvedObject.name={pod}")


def test_cores_that_a_pod_grew_by_are_nobody_elses(machine: Machine):
    pod = Pod(machine, "grown").create()
    pod.says(cores=6)
    pod.annotate(cores="20")
    pod.says(cores=20)
    eventually(lambda: machine.allocatable(CORES) == ALL - 14, what="14 cores fewer for others")
    pod.annotate(cores=None)
    eventually(lambda: machine.allocatable(CORES) == ALL, what="all cores")


def test_a_kubelet_that_starts_anew_loses_nothing(machine: Machine):
    pods = [Pod(machine, f"k{number}").create() for number in range(2)]
    for pod in pods:
        pod.says(cores=6)
    before = [pod.restarts() for pod in pods]
    machine.kill("kubelet")
    began = datetime.datetime.now(datetime.UTC)
    machine.start_kubelet()
    eventually(lambda: machine.has_reported(began), what="the kubelet's report")
    eventually(lambda: machine.allocatable(CORES) == ALL, what="48 cores again")
    later = Pod(machine, "later").create(cores=24, memory=32)
    later.says(cores=24)
    assert [pod.restarts() for pod in pods] == before
    assert [pod.phase for pod in pods] == ["Running", "Running"]
    kept = {"k0": 6, "k1": 6, "later": 24}
    eventually(lambda: {each.get("pod"): each["cores"] for each in npu(machine)["vnpus"]} == kept, what="three vNPUs")


@pytest.mark.parametrize("component", ["plugin", "daemon"])
def test_a_part_that_starts_anew_loses_nothing(release: Release, machine: Machine, component: str):
    pod = Pod(machine, "stays").create()
    pod.says(cores=6)
    before, lines = pod.restarts(), len(pod.lines())
    machine.kubectl("delete", "pod", release.pod_of(component)["metadata"]["name"], "-n", NAMESPACE, "--wait=true")
    release.ready()
    eventually(lambda: machine.allocatable(CORES) == ALL, what="48 cores again")
    pod.annotate(cores="7")
    pod.says(cores=7)
    assert pod.restarts() == before
    assert len(pod.lines()) == lines + 1, "it noticed nothing"
    Pod(machine, "new").create().says(cores=6)


def test_a_daemon_that_is_away_takes_its_devices_along_and_brings_them_back(release: Release, machine: Machine):
    nowhere = {"spec": {"template": {"spec": {"nodeSelector": {"no": "where"}}}}}
    patch = ["patch", "ds/flexnpu-daemon", "-n", NAMESPACE, "--type=merge", "-p"]
    machine.kubectl(*patch, json.dumps(nowhere))
    eventually(lambda: machine.allocatable(CORES) == 0, what="no core")
    eventually(lambda: npu(machine)["ready"] is False, what="a node that is not ready")
    assert machine.get("node", NODE)["status"]["capacity"][CORES] == "48"
    machine.kubectl(*patch, json.dumps({"spec": {"template": {"spec": {"nodeSelector": None}}}}))
    release.ready()
    eventually(lambda: machine.allocatable(CORES) == ALL, what="48 cores again")
    eventually(lambda: npu(machine)["ready"], what="a ready node")


def test_a_lost_device_is_taken_out_and_put_back(machine: Machine):
    machine.kubectl("taint", "node", NODE, "somebody/elses=:PreferNoSchedule")
    pod = Pod(machine, "first").create()
    pod.says(cores=6)
    state = Path("/run/flexnpu/softnpu/device1")  # of the daemon; a container has its own
    state.parent.mkdir(exist_ok=True)
    state.write_bytes(b"\0" * 4096)
    eventually(lambda: machine.allocatable(CORES) == 24, what="the cores of one device")
    eventually(lambda: [each["healthy"] for each in npu(machine)["devices"]] == [True, False])
    assert npu(machine)["coresFree"] == 18, "what a lost device has is not free"
    eventually(lambda: _taints(machine) == ["somebody/elses", "flexnpu.io/device-lost"], what="a taint")
    machine.show("get", "nodenpus")
    machine.show("get", "events", "--field-selector", "reason=DeviceLost")
    state.unlink()
    eventually(lambda: machine.allocatable(CORES) == ALL, what="the cores of both")
    eventually(lambda: _taints(machine) == ["somebody/elses"], what="no taint")
    assert pod.phase == "Running"
    machine.kubectl("taint", "node", NODE, "somebody/elses-")


def _taints(machine: Machine) -> list[str]:
    return [taint["key"] for taint in machine.get("node", NODE)["spec"].get("taints", [])]


def test_an_upgrade_restarts_no_pod_and_a_change_of_the_plugin_no_daemon(release: Release, machine: Machine):
    pod = Pod(machine, "tenant").create()
    pod.says(cores=6)
    before, daemon = pod.restarts(), release.pod_of("daemon")["metadata"]["uid"]
    release.upgrade("plugin.config.placement=spread")
    release.ready()
    eventually(lambda: machine.allocatable(CORES) == ALL, what="48 cores again")
    assert release.pod_of("daemon")["metadata"]["uid"] == daemon
    assert pod.restarts() == before


def test_annotated_engines_are_a_service_that_a_controller_deals_cores_to(release: Release, machine: Machine):
    release.upgrade("controller.enabled=true", "plugin.config.placement=pack")
    release.ready()
    eventually(lambda: machine.allocatable(CORES) == ALL, what="48 cores again")
    engine = {"service": "chat", "model": "Qwen3-8B", "slo-itl": "50ms"}
    Pod(machine, "prefill", phase="prefill", **engine).create(cores=12, memory=32).says(gib=32.0)
    eventually(lambda: "ServiceNotServed" in _events(machine, "prefill"), what="a service without decode")
    decode = Pod(machine, "decode", phase="decode", **engine).create(cores=12, memory=32)
    decode.says(gib=32.0)
    eventually(lambda: "ServiceServed" in _events(machine, "decode"), what="a service")
    began = eventually(lambda: _began(machine, itl_s=0.05), what="a controller that serves it")
    for name in ("prefill", "decode"):
        machine.kubectl("annotate", "--overwrite", "pod", name, "flexnpu.io/slo-itl=20ms")
    assert eventually(lambda: _began(machine, itl_s=0.02), what="its new target") == began
    machine.show("get", "events", "--field-selector", "reason=ServiceServed")
    machine.show(*IN_CONTROLLER, "flexnpu", "ps")


def _began(machine: Machine, itl_s: float) -> list[float]:
    """When controllers began that live and are to keep this time between tokens of the service chat."""
    controllers = json.loads(machine.kubectl(*IN_CONTROLLER, "flexnpu", "ps", "--json"))["controllers"]
    wanted = [("chat", itl_s)]
    return [
        told["since"]
        for told in controllers
        if told["live"] and [(each["name"], each["itl_s"]) for each in told["services"]] == wanted
    ]


def test_the_agent_may_do_what_it_does_and_no_more(machine: Machine):
    def may(verb: str, what: str) -> bool:
        resource, _, part = what.partition("/")
        options = [f"--as={AGENT}", "-A", *([f"--subresource={part}"] if part else [])]
        return machine.kubectl("auth", "can-i", verb, resource, *options, check=False).startswith("yes")

    assert may("patch", "pods")
    assert may("patch", "nodenpus.flexnpu.io/status")
    refused = [
        ("delete", "pods"),
        ("create", "pods"),
        ("get", "secrets"),
        ("update", "nodes"),
        ("patch", "pods/status"),
    ]
    assert [each for each in refused if may(*each)] == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_api_server_takes_manifests_and_examples(machine: Machine, path: Path):
    # In a namespace of their own: over the release, they would be patches of it.
    machine.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "manifests"}})
    objects = [*filter(None, yaml.safe_load_all(path.read_text().replace(NAMESPACE, "manifests")))]
    assert objects
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    machine.kubectl("apply", "--dry-run=server", "--validate=true", "-f", "-", given=json.dumps(listed))


def test_nothing_is_left_of_a_release_that_is_gone(release: Release, machine: Machine):
    machine.helm("uninstall", "flexnpu", "-n", NAMESPACE)
    eventually(lambda: not machine.get("pods", "-n", NAMESPACE)["items"], what="no pods of it")
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "flexnpud" not in left
