# SPDX-License-Identifier: Apache-2.0
"""A daemon with tenants, its metrics as promtool judges them, and a Prometheus server that scrapes it over TCP."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fake_tenant import FakeTenant, RefusedError
from local_node import GIB, Node, eventually
from prometheus_tools import promtool, tool

from flexnpu.api.tokens import make
from flexnpu.client import Pod
from flexnpu.errors import OverQuota

ROOT = Path(__file__).parents[2]
FIRST_WAIT_BUCKET = 0
KERNEL, GRAPH = 0, 1


def listening(node: Node, tokens: Path, *options: str) -> str:
    """Starts the daemon; HOST:PORT of its admin API."""
    daemon = node.start("--listen", "127.0.0.1:0", "--tokens", str(tokens), "--node-name", "n1", *options)
    assert daemon.process.stderr is not None
    for line in daemon.process.stderr:
        if found := re.search(r"listening on http://(127\.0\.0\.1:\d+)", line):
            return found[1]
    raise AssertionError("it does not listen")


class Scraped:
    """A daemon that Prometheus may read, and what it needs for that."""

    def __init__(self, node: Node, root: Path) -> None:
        self.node, self.root = node, root
        token, hashed = make("prometheus", "read")
        (root / "tokens").write_text(hashed + "\n")
        (root / "tokens").chmod(0o600)
        self.token = root / "prometheus.token"
        self.token.write_text(token)

    def start(self, *options: str) -> None:
        self.where = listening(self.node, self.root / "tokens", *options)

    def page(self) -> str:
        headers = {"Authorization": f"Bearer {self.token.read_text()}"}
        answer = httpx.get(f"http://{self.where}/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text

    def value(self, name: str, **labels: str) -> float:
        for line in self.page().splitlines():
            if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"there is no {name} of {labels}")


@pytest.fixture
def scraped(quiet_node: Node, tmp_path: Path) -> Scraped:
    return Scraped(quiet_node, tmp_path)


@contextmanager
def prometheus(scraped: Scraped) -> Iterator[str]:
    """A server with the shipped configuration and rules, on a port of its own; its URL."""
    shipped = ROOT / "deploy/prometheus"
    config = yaml.safe_load((shipped / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "250ms", "evaluation_interval": "250ms"}
    config["rule_files"] = [str(shipped / name) for name in config["rule_files"]]
    (job,) = config["scrape_configs"]
    job["authorization"]["credentials_file"] = str(scraped.token)
    job["static_configs"] = [{"targets": [scraped.where]}]
    file, log = scraped.root / "prometheus.yml", scraped.root / "prometheus.log"
    file.write_text(yaml.safe_dump(config))
    storage = scraped.root / "data"
    command = [tool("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={storage}"]
    with log.open("w") as out:
        server = subprocess.Popen([*command, "--web.listen-address=127.0.0.1:0"], stdout=out, stderr=out)
        try:
            found = eventually(lambda: re.search(r"address=(127\.0\.0\.1:[1-9]\d*)", log.read_text()), within=20)
            yield f"http://{found[1]}"
        finally:
            server.terminate()
            server.wait(20)


def asked(url: str, query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query})
    return answer.json()["data"]["result"] if answer.status_code == 200 else []


def test_a_prometheus_server_scrapes_what_tenants_did(scraped: Scraped):
    scraped.start()
    node = scraped.node
    client = node.client()
    client.create_vnpu("a", cores=8, memory_bytes=GIB)
    client.set_pod("a", Pod(namespace="ml", name="chat-0", container="engine"))
    tenant = FakeTenant.attach(node.attach_socket, "a")
    tenant.acknowledge()
    tenant.launch(KERNEL, 40)
    tenant.launch(GRAPH, 2)
    tenant.waited(4_000, bucket=FIRST_WAIT_BUCKET)
    assert "FAILED" not in promtool("check", "metrics", given=scraped.page())
    with prometheus(scraped) as url:
        assert eventually(lambda: asked(url, 'up{job="flexnpu"} == 1'), within=20)
        (launches,) = eventually(lambda: asked(url, 'flexnpu_vnpu_launches_total{kind="kernel"}'))
        assert launches["metric"] | {"instance": "", "job": ""} == {
            "__name__": "flexnpu_vnpu_launches_total", "node": "n1", "vnpu": "a", "device": "0", "kind": "kernel",
            "instance": "", "job": "",
        }  # fmt: skip
        assert launches["value"][1] == "40"
        joined = "flexnpu_vnpu_granted_cores * on (node, vnpu) group_left (namespace, pod) flexnpu_vnpu_info"
        (cores,) = asked(url, joined)
        assert (cores["metric"]["pod"], cores["value"][1]) == ("chat-0", "8")
        assert eventually(lambda: asked(url, "flexnpu:device_guaranteed_cores:ratio"), within=20)[0]["value"][1]
        rules = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
        tenant.launch(KERNEL, 2)
        assert eventually(lambda: asked(url, 'flexnpu_vnpu_launches_total{kind="kernel"} == 42'))
    tenant.close()


def test_aliases_are_names_that_promtool_reads(scraped: Scraped):
    scraped.start("--metric-aliases", "npu-exporter,hami")
    client = scraped.node.client()
    client.create_vnpu("a", cores=8, memory_bytes=GIB)
    client.set_pod("a", Pod(namespace="ml", name="chat-0", container="engine"))
    assert scraped.value("vnpu_pod_total_memory", container_name="engine", aicore_count="8.00") == GIB / 1024
    assert scraped.value("hami_vgpu_memory_limit_bytes", pod="chat-0") == GIB
    said = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=scraped.page(), capture_output=True, text=True, check=False
    )
    # That is what is odd about these names; the page is one that can be read.
    assert {line.split(" ")[0] for line in said.stderr.splitlines()} <= {"hami_vgpu_memory_used_bytes"}, said.stderr


def test_counters_stay_when_a_tenant_ends_and_tell_why_others_were_refused(scraped: Scraped):
    scraped.start()
    node = scraped.node
    client = node.client()
    client.create_vnpu("a", cores=8, memory_bytes=GIB)
    tenant = FakeTenant.attach(node.attach_socket, "a")
    tenant.acknowledge()
    tenant.launch(KERNEL, 40)
    tenant.deny(3)
    client.set_quota("a", cores=6)
    tenant.acknowledge()
    eventually(lambda: scraped.value("flexnpu_vnpu_observed_revision", vnpu="a") == 2)
    tenant.close()
    eventually(lambda: scraped.value("flexnpu_vnpu_leases_reclaimed_total", vnpu="a") == 1)
    assert scraped.value("flexnpu_vnpu_launches_total", vnpu="a", kind="kernel") == 40
    assert scraped.value("flexnpu_denials_total", vnpu="a", reason="memory") == 3
    assert scraped.value("flexnpu_vnpu_quota_apply_seconds_count", vnpu="a") == 1
    assert scraped.value("flexnpu_vnpu_core_seconds_total", vnpu="a") > 0
    for name, version in (("nobody", 4), ("a", 9)):
        with pytest.raises(RefusedError):
            FakeTenant.attach(node.attach_socket, name, version)
    with pytest.raises(OverQuota):
        client.set_quota("a", cores=25)
    assert scraped.value("flexnpu_denials_total", vnpu="", reason="unknown_vnpu") == 1
    assert scraped.value("flexnpu_denials_total", vnpu="", reason="bad_version") == 1
    assert scraped.value("flexnpu_denials_total", vnpu="a", reason="quota") == 1


def test_a_tenant_that_comes_back_to_another_daemon_is_not_counted_twice(scraped: Scraped):
    scraped.start()
    node = scraped.node
    node.client().create_vnpu("a", cores=8, memory_bytes=GIB)
    tenant = FakeTenant.attach(node.attach_socket, "a")
    tenant.acknowledge()
    tenant.launch(KERNEL, 1000)
    node.kill()
    scraped.start()
    tenant = tenant.come_back(node.attach_socket)
    tenant.acknowledge()
    tenant.launch(KERNEL, 7)
    assert scraped.value("flexnpu_vnpu_launches_total", vnpu="a", kind="kernel") == 7
    tenant.close()
