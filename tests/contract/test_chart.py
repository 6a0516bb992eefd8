# SPDX-License-Identifier: Apache-2.0
"""The chart as helm reads it: its values, what it renders, the manifests made from it, and the examples beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from kubernetes_clients import Unavailable, clients

from device_plugin.cluster.annotations import unknown
from device_plugin.cluster.node_npu import GROUP, KIND, PLURAL, VERSION, status_of
from device_plugin.config import Config, read_config
from flexnpu.client import Device, VNpu

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/flexnpu"
EVERYTHING = (
    "devices.kind=software",
    "podMonitor.enabled=true",
    "podMonitor.tokenSecret.name=reader",
    "daemon.listen.secret=listen",
    "dashboards.enabled=true",
    "networkPolicy.enabled=true",
    "agent.taint=NoSchedule",
    "plugin.config.placement=spread",
    "controller.enabled=true",
    "controller.models.tiny=shape",
)


@pytest.fixture(scope="module")
def helm() -> Path:
    try:
        return clients() / "helm"
    except Unavailable as reason:
        pytest.skip(str(reason))


def render(helm: Path, *values: str) -> list[dict[str, Any]]:
    options = [option for value in values for option in ("--set", value)]
    done = subprocess.run(
        [str(helm), "template", "flexnpu", str(CHART), "--namespace", "npus", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of(rendered: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in rendered if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def containers(rendered: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    sets = [each for each in rendered if each["kind"] == "DaemonSet"]
    return {
        container["name"]: container for each in sets for container in each["spec"]["template"]["spec"]["containers"]
    }


def test_helm_finds_nothing_to_complain_of(helm: Path):
    done = subprocess.run([str(helm), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_manifests_are_the_chart_rendered(helm: Path):
    sys.path.insert(0, str(ROOT / "deploy/manifests"))
    try:
        import render  # noqa: PLC0415 - a script beside what it makes
    finally:
        sys.path.pop(0)
    for file, content in render.rendered(helm):
        assert file.read_text(encoding="utf-8") == content, "run: make manifests"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("devices.kind=gpu", "devices.kind"),
        ("devices.software.count=17", "devices.software.count"),
        ("paths.run=run/flexnpu", "paths.run"),
        ("agent.taint=Always", "agent.taint"),
        ("plugin.config.daemon=/x", "plugin.config"),
        ("daemn.dispatch=fair", "daemn"),
        ("agent.enabled=false,controller.enabled=true", "agent.enabled"),
        ("networkPolicy.apiServer.ports[0]=0", "networkPolicy.apiServer.ports.0"),
    ],
)
def test_a_value_that_is_none_is_named(helm: Path, value: str, named: str):
    done = subprocess.run(
        [str(helm), "template", str(CHART), "--set", value], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert named in done.stderr


@pytest.mark.parametrize("values", [(), EVERYTHING], ids=["defaults", "everything"])
def test_the_plugin_can_read_its_configuration(helm: Path, tmp_path: Path, values: tuple[str, ...]):
    told = of(render(helm, *values), "ConfigMap", "flexnpu-plugin")["data"]["plugin.yaml"]
    (tmp_path / "plugin.yaml").write_text(told)
    config = read_config(tmp_path / "plugin.yaml", {})
    assert config.pods_dir == Config().pods_dir
    assert config.placement == ("spread" if values else "pack")
    assert config.host_root == Path("/" if values else "/host"), "software devices need nothing of the host's"


def test_whoever_needs_no_right_has_none(helm: Path):
    rendered = render(helm, "devices.kind=software")
    for name in ("flexnpu-daemon", "flexnpu-plugin"):
        assert of(rendered, "DaemonSet", name)["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert [name for name, each in containers(rendered).items() if "token" in str(each["volumeMounts"])] == ["agent"]
    for name, container in containers(rendered).items():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"], name
        assert not context.get("privileged"), name
        assert context["capabilities"]["drop"] == ["ALL"], name
    assert containers(rendered)["agent"]["securityContext"]["runAsNonRoot"]
    privileged = [name for name, each in containers(render(helm)).items() if each["securityContext"].get("privileged")]
    assert privileged == ["flexnpud"], "of real devices the nodes have to be opened"


def test_nodes_may_be_patched_only_for_a_taint(helm: Path):
    def verbs(*values: str) -> list[str]:
        [rule] = [
            rule
            for rule in of(render(helm, *values), "ClusterRole", "flexnpu-agent")["rules"]
            if "nodes" in rule["resources"]
        ]
        return rule["verbs"]

    assert verbs() == ["get"]
    assert verbs("agent.taint=NoExecute") == ["get", "patch"]


def test_a_change_of_the_plugin_leaves_the_daemon_alone(helm: Path):
    before, after = render(helm), render(helm, "plugin.config.placement=spread", "agent.taint=NoSchedule")
    assert of(before, "DaemonSet", "flexnpu-daemon") == of(after, "DaemonSet", "flexnpu-daemon")
    assert of(before, "DaemonSet", "flexnpu-plugin") != of(after, "DaemonSet", "flexnpu-plugin")


def test_metrics_are_scraped_where_they_are_served(helm: Path):
    rendered = render(helm, *EVERYTHING)
    scraped = {each["port"] for each in of(rendered, "PodMonitor", "flexnpu")["spec"]["podMetricsEndpoints"]}
    served = {port["name"] for each in containers(rendered).values() for port in each.get("ports", [])}
    assert scraped == served == {"api", "metrics"}
    rules = of(rendered, "NetworkPolicy", "flexnpu")["spec"]
    assert rules["ingress"] == []
    assert [port["port"] for port in rules["egress"][0]["ports"]] == [443, 6443]
    for path in (CHART / "dashboards").glob("*.json"):
        [told] = of(rendered, "ConfigMap", f"flexnpu-{path.stem}")["data"].values()
        assert json.loads(told)["title"]


def test_what_the_agent_publishes_is_what_the_resource_may_hold():
    crd = yaml.safe_load((CHART / "crds/nodenpus.yaml").read_text())
    names = crd["spec"]["names"]
    assert (crd["spec"]["group"], names["kind"], names["plural"]) == (GROUP, KIND, PLURAL)
    [version] = [each for each in crd["spec"]["versions"] if each["name"] == VERSION]
    amounts = {"cores": 24, "memory_bytes": 2**36, "cores_free": 18, "memory_free": 2**35}
    device = {"index": 0, "uuid": "u", "soc": "Ascend910B2", "kind": "software", "environment": {}, **amounts}
    labels = {"namespace": "team", "pod": "chat-0", "container": "main"}
    vnpu = {"name": "k8s-0-c0", "device": 0, "devices": [0], "cores": 6, "memory_bytes": 2**34, "labels": labels}
    vnpu |= {"burst_cores": 12, "share_percent": 25.0, "phase": "decode", "revision": 2, "tenants": 1}
    vnpu |= {"granted_cores": 6, "granted_revision": 2, "applied_revision": 2, "applied": True}
    devices = [Device.model_validate({**device, "trouble": "lost", "numa_node": 1}), Device.model_validate(device)]
    status = status_of(devices, [VNpu.model_validate(vnpu)])
    assert (status["cores"], status["coresFree"]) == (48, 18), "a lost device has none free"
    schema = _closed(version["schema"]["openAPIV3Schema"]["properties"]["status"])
    jsonschema_rs.validate(schema, {**status, "ready": True, "message": "", "observedAt": "2026-01-01T00:00:00Z"})


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """An API server prunes what the schema does not name; here it is an error."""
    if "properties" in schema:
        properties = {name: _closed(each) for name, each in schema["properties"].items()}
        return {**schema, "properties": properties, "additionalProperties": False}
    return {**schema, "items": _closed(schema["items"])} if "items" in schema else schema


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_ask_for_what_is_offered(path: Path):
    offered = Config().resources
    names = {each.name for each in (offered.vnpu, offered.cores, offered.memory, offered.device) if each}
    for each in yaml.safe_load_all(path.read_text()):
        if each["kind"] != "Deployment":
            continue
        pod = each["spec"]["template"]
        assert each["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        in_pod = [container["name"] for container in pod["spec"]["containers"]]
        assert unknown(pod["metadata"].get("annotations", {}), in_pod) == []
        for container in pod["spec"]["containers"]:
            assert set(container["resources"]["limits"]) <= names
