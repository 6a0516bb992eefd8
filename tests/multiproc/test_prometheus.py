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
from fake_tenant import VERSION, FakeTenant, RefusedError
from local_node import GIB, Node, eventually
from prometheus_tools import promtool, tool

from flexnpu.api.tokens import make
from flexnpu.errors import OverQuota

ROOT = Path(__file__).parents[2]
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


def value(page: str, name: str, **labels: str) -> float:
    for line in page.splitlines():
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


def rule_groups(url: str) -> list[dict[str, Any]]:
    return httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"]


def test_a_prometheus_server_scrapes_what_tenants_did(scraped: Scraped):
    scraped.start("--metric-aliases", "npu-exporter,hami")
    node = scraped.node
    client = node.client()
    client.create_vnpu("a", cores=8, memory_bytes=GIB)
    client.set_labels("a", {"namespace": "ml", "pod": "chat-0", "container": "engine"})
    tenant = FakeTenant.attach(node.attach_socket, "a")
    tenant.acknowledge()
    tenant.launch(KERNEL, 40)
    tenant.launch(GRAPH, 2)
    tenant.waited(4_000, bucket=0)
    page = scraped.page()
    promtool("check", "metrics", given=page)
    assert value(page, "vnpu_pod_total_memory", container_name="engine", aicore_count="8.00") == GIB / 1024
    assert value(page, "hami_vgpu_memory_limit_bytes", pod="chat-0") == GIB
    with prometheus(scraped) as url:
        (launches,) = eventually(lambda: asked(url, 'flexnpu_vnpu_launches_total{kind="kernel"}'), within=30)
        told = {name: label for name, label in launches["metric"].items() if name not in {"instance", "job"}}
        name = {"__name__": "flexnpu_vnpu_launches_total"}
        assert told == {**name, "node": "n1", "vnpu": "a", "device": "0", "kind": "kernel"}
        assert launches["value"][1] == "40"
        joined = "flexnpu_vnpu_granted_cores * on (node, vnpu) group_left (namespace, pod) flexnpu_vnpu_info"
        (cores,) = asked(url, joined)
        assert (cores["metric"]["pod"], cores["value"][1]) == ("chat-0", "8")
        assert asked(url, 'up{job="flexnpu"} == 1')
        assert asked(url, 'flexnpu_vnpu_gate_wait_seconds_bucket{vnpu="a", le="1e-05"} == 1')
        (part,) = eventually(lambda: asked(url, "flexnpu:device_guaranteed_cores:ratio"), within=30)
        assert float(part["value"][1]) == pytest.approx(8 / 24)
        rules = [rule for group in rule_groups(url) for rule in group["rules"]]
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        tenant.launch(KERNEL, 2)
        assert eventually(lambda: asked(url, 'flexnpu_vnpu_launches_total{kind="kernel"} == 42'), within=30)
    tenant.close()


def test_counters_outlive_tenants_and_count_those_that_come_back_once(scraped: Scraped):
    scraped.start()
    node = scraped.node
    client = node.client()
    client.create_vnpu("a", cores=8, memory_bytes=GIB)
    client.create_vnpu("b", cores=8, memory_bytes=GIB)
    ends, stays = FakeTenant.attach(node.attach_socket, "a"), FakeTenant.attach(node.attach_socket, "b")
    for tenant in (ends, stays):
        tenant.acknowledge()
        tenant.launch(KERNEL, 40)
    ends.deny(3)
    client.set_quota("a", cores=6)
    ends.acknowledge()
    eventually(lambda: client.quota("a").applied)
    ends.close()
    eventually(lambda: not client.tenants("a"))
    for name, version in (("nobody", VERSION), ("a", VERSION + 5)):
        with pytest.raises(RefusedError):
            FakeTenant.attach(node.attach_socket, name, version)
    with pytest.raises(OverQuota):
        client.set_quota("a", cores=25)
    page = scraped.page()
    assert value(page, "flexnpu_vnpu_leases_reclaimed_total", vnpu="a") == 1
    assert value(page, "flexnpu_vnpu_launches_total", vnpu="a", kind="kernel") == 40
    assert value(page, "flexnpu_vnpu_quota_apply_seconds_count", vnpu="a") == 1
    assert value(page, "flexnpu_vnpu_core_seconds_total", vnpu="a") > 0
    for vnpu, reason, times in (("a", "memory", 3), ("a", "quota", 1), ("", "unknown_vnpu", 1), ("", "bad_version", 1)):
        assert value(page, "flexnpu_denials_total", vnpu=vnpu, reason=reason) == times
    node.kill()
    scraped.start()
    stays = stays.come_back(node.attach_socket)
    stays.acknowledge()
    stays.launch(KERNEL, 7)
    assert value(scraped.page(), "flexnpu_vnpu_launches_total", vnpu="b", kind="kernel") == 7
    stays.close()
