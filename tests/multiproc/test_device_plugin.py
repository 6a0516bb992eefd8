# SPDX-License-Identifier: Apache-2.0
"""The plugin as a process, with a real daemon: programs run on the vNPUs that pods were given, and signals do their
part."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pod_runtime
import pytest
import yaml
from fake_kubelet import FakeKubelet, pod, until
from local_node import Node, Program

from flexnpu.paths import library_dir

GIB = 2**30
CORES = "flexnpu.io/cores"
ALL = [CORES, "flexnpu.io/memory", "flexnpu.io/vnpu", "flexnpu.io/device"]

# A program of AscendCL that knows nothing of FlexNPU: what it sees of its device, and whether so much can be allocated.
PROGRAM = r"""
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#define CALL(name, type) ((type)dlsym(acl, #name))
int main() {
    void* acl = dlopen("libascendcl.so", RTLD_NOW);
    if (!acl) return fprintf(stderr, "%s\n", dlerror()), 1;
    if (CALL(aclInit, int (*)(const char*))(0) || CALL(aclrtSetDevice, int (*)(int))(0)) return 2;
    uint32_t devices = 0, cores = 0;
    size_t free = 0, total = 0;
    void* at = 0;
    CALL(aclrtGetDeviceCount, int (*)(uint32_t*))(&devices);
    CALL(aclrtGetResInCurrentThread, int (*)(int, uint32_t*))(0, &cores);
    CALL(aclrtGetMemInfo, int (*)(int, size_t*, size_t*))(1, &free, &total);
    int (*allocate)(void**, size_t, int) = CALL(aclrtMalloc, int (*)(void**, size_t, int));
    int fits = allocate(&at, total - (1UL << 30), 0), over = allocate(&at, 2UL << 30, 0);
    printf("{\"devices\": %u, \"cores\": %u, \"total\": %zu, ", devices, cores, total);
    printf("\"fits\": %d, \"over\": %d, \"uid\": %d}\n", fits, over, getuid());
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("program") / "program"
    subprocess.run(["cc", "-x", "c", "-", "-o", str(made), "-ldl"], input=PROGRAM, text=True, check=True)
    return made


@dataclass
class Cluster:
    """One node of it."""

    node: Node
    kubelet: FakeKubelet
    file: Path
    keys: dict[str, Any]

    def plugin(self, **keys: object) -> Program:
        """The command, with those keys in its file."""
        self.write(**keys)
        command = [sys.executable, "-m", "device_plugin.main", "--config", str(self.file)]
        started = Program(command, self.node.env)
        self.node.programs.append(started)
        return started

    def write(self, **keys: object) -> None:
        self.file.write_text(yaml.safe_dump({**self.keys, **keys}))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", library_dir())
    keys = {"kubelet_dir": parent / "kubelet", "pods_dir": parent / "pods", "lib_dir": parent / "lib", "cdi": "off"}
    keys["daemon"] = node.root / "admin.sock"
    (parent / "kubelet").mkdir()
    named = {name: str(value) for name, value in keys.items()}
    yield Cluster(node, FakeKubelet(parent / "kubelet"), parent / "plugin.yaml", named)
    node.clean_up()
    shutil.rmtree(parent)


def during(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 240))


def test_programs_of_two_pods_run_on_their_vnpus_under_their_limits(cluster: Cluster, program: Path):
    """As another user, in mounts of their own, before and after the daemon was killed."""
    cluster.node.start()

    async def test():
        cluster.plugin(unhealthy_after="1s")
        kubelet = cluster.kubelet
        async with kubelet:
            await kubelet.ready(*ALL)
            small = await kubelet.admit(pod("small", cores=6, memory=16))
            large = await kubelet.admit(pod("large", cores=12, memory=40))
            for each, cores, memory in ((large, 12, 40), (small, 6, 16)):
                started = await kubelet.start_container(each, "main")
                # In a pod that names another's vNPU, or that has an LD_PRELOAD of its own where there is the other way.
                odd = {"FLEXNPU_VNPU": "k8s-0-c6"}
                if pod_runtime.has_mounts():
                    odd["LD_PRELOAD"] = ""
                for changed in ({}, odd):
                    seen = json.loads(await asyncio.to_thread(pod_runtime.run, program, started, changed))
                    assert (seen["devices"], seen["cores"], seen["total"]) == (1, cores, memory * GIB)
                    assert seen["fits"] == 0
                    assert seen["over"] != 0
                    assert seen["uid"] == (pod_runtime.NOBODY if pod_runtime.has_mounts() else os.geteuid())
            with cluster.node.client() as client:
                found = {vnpu.labels["pod"]: vnpu for vnpu in client.vnpus()}
                assert {name: each.cores for name, each in found.items()} == {"small": 6, "large": 12}
                assert all(each.labels["namespace"] == "default" for each in found.values())
            cluster.node.kill()
            await until(lambda: kubelet.allocatable(CORES) == 0)
            await asyncio.to_thread(cluster.node.start)
            await until(lambda: kubelet.allocatable(CORES) == 24)
            assert json.loads(await asyncio.to_thread(pod_runtime.run, program, started))["cores"] == 6

    during(test())


def test_metrics_hangup_and_term(cluster: Cluster):
    """Counts at a port; SIGHUP reads the configuration again; SIGTERM leaves nothing behind."""
    cluster.node.start()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

    async def test():
        plugin = cluster.plugin(metrics=f"127.0.0.1:{port}")
        kubelet = cluster.kubelet
        async with kubelet:
            await kubelet.ready(*ALL)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
                told = page.read().decode()
            assert 'flexnpu_plugin_units{health="Healthy",resource="flexnpu.io/cores"} 24.0' in told
            assert 'flexnpu_plugin_registrations_total{answer="done"} 4.0' in told
            assert "flexnpu_plugin_daemon_up 1.0" in told
            cluster.write(resources={"cores": {"name": "example.com/core-pairs", "granularity": 2}})
            plugin.process.send_signal(signal.SIGHUP)
            await until(lambda: kubelet.allocatable("example.com/core-pairs") == 12)
            await until(lambda: kubelet.allocatable(CORES) == 0)
            cluster.file.write_text("placement: sideways")
            plugin.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.5)
            assert kubelet.allocatable("example.com/core-pairs") == 12
            assert plugin.kill(signal.SIGTERM) == 0
            assert [file.name for file in kubelet.plugins.iterdir()] == ["kubelet.sock"]
        _, errors = plugin.end()
        assert "the configuration stays as it was" in errors

    during(test())


def test_a_bad_configuration_is_told_in_a_line(tmp_path: Path):
    file = tmp_path / "plugin.yaml"
    file.write_text("placement: sideways")
    command = [sys.executable, "-m", "device_plugin.main", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"flexnpu-device-plugin: error: {file}: placement: Input should be 'pack' or 'spread'\n"
