# SPDX-License-Identifier: Apache-2.0
"""Unmodified PyTorch programs on virtual NPUs, through every room: command, daemon, pages, interposer, software NPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from local_node import Node, Program, eventually

from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.environment import for_tenant
from flexnpu.paths import library_dir

GIB = 2**30

# Answers each line on stdin: prints what the program sees, or how long one matrix product of a fixed shape takes.
PROGRAM = """
import json, sys, torch, torch_npu
a = None
def gemm():
    global a
    a = torch.empty(4096, 4096, dtype=torch.bfloat16, device="npu") if a is None else a
    start, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
    a @ a
    start.record()
    for _ in range(20): a @ a
    end.record(); torch.npu.synchronize()
    return start.elapsed_time(end) / 20
def limit():
    free, total = torch.npu.mem_get_info()
    limits = torch.npu.get_device_limit(0)
    return dict(devices=torch.npu.device_count(), total=total, free=free, cube=limits["cube_core_num"],
                vector=limits["vector_core_num"], shown=torch.npu.get_device_properties(0).cube_core_num)
def fill():
    try:
        torch.empty(5 << 30, dtype=torch.uint8, device="npu")
    except torch.OutOfMemoryError as error:
        return str(error)
    return "no error"
for line in sys.stdin:
    print(json.dumps(dict(value=globals()[line.strip()]())), flush=True)
"""


# What an engine asks before it captures a graph, so that later updates of the operator fit.
MAX_WORKSPACE = """
import json, torch, torch_npu
q, k, v = (torch.ones(1, 2, tokens, 16).half().npu() for tokens in (1, 32, 32))
room = torch_npu._npu_fused_infer_attention_score_get_max_workspace(
    q, k, v, num_heads=2, scale=0.25, input_layout="BNSD", actual_seq_lengths_kv=[32])
print(json.dumps(dict(value=room.numel())))
"""


class Tenant:
    """The program above on a vNPU."""

    def __init__(self, node: Node, name: str, cores: int) -> None:
        self.name = name
        options = ["--name", name, "--device", "0", "--cores", str(cores), "--memory", "4GiB"]
        self.program: Program = node.program("run", *options, "--", sys.executable, "-c", PROGRAM)

    def ask(self, what: str):
        self.program.say(what)
        return self.program.line()["value"]


@pytest.fixture
def two(node):
    return Tenant(node, "prefill", 12), Tenant(node, "decode", 6)


@pytest.mark.device
def test_each_program_sees_one_device_of_its_quota(node, two):
    seen = [tenant.ask("limit") for tenant in two]
    assert [view["devices"] for view in seen] == [1, 1]
    assert [view["total"] for view in seen] == [4 * GIB, 4 * GIB]
    assert [(view["cube"], view["vector"]) for view in seen] == [(12, 24), (6, 12)]
    assert [view["shown"] for view in seen] == [12, 6]


@pytest.mark.device
def test_memory_ends_at_the_limit_with_pytorchs_own_error(node, two):
    message = two[0].ask("fill")
    assert "out of memory" in message
    assert "4.00 GiB total capacity" in message
    assert two[1].ask("limit")["free"] == 4 * GIB, "the neighbour's memory is its own"
    assert node.ps()["tenants"], "the program that met its limit goes on"


@pytest.mark.device
def test_a_shape_already_used_runs_under_the_new_count(node):
    tenant = Tenant(node, "only", 12)
    before = tenant.ask("gemm")
    code, out, errors = node.flexnpu("set", "only", "--cores", "6")
    assert code == 0, errors
    assert "applied revision 2 on only after" in out
    after = tenant.ask("gemm")
    assert after / before == pytest.approx(3.51 / 1.83, rel=0.1)  # the SoC model's curve at 6 and 12 of 24 cores
    assert tenant.ask("limit")["cube"] == 6
    assert node.flexnpu("set", "only", "--cores", "12")[0] == 0
    assert tenant.ask("gemm") == pytest.approx(before, rel=0.1)


@pytest.mark.device
def test_a_program_may_ask_for_the_most_workspace_of_an_operator(node):
    options = ["--name", "graphs", "--cores", "4", "--memory", "4GiB"]
    program = node.program("run", *options, "--", sys.executable, "-c", MAX_WORKSPACE)
    assert program.line()["value"] == 0, "the software NPU's operators need none"


@pytest.mark.device
def test_a_killed_program_gives_its_cores_back(node, two):
    for tenant in two:
        tenant.ask("limit")
    assert node.ps()["devices"][0]["cores_free"] == 6
    two[0].program.kill(signal.SIGKILL)
    eventually(lambda: node.ps()["devices"][0]["cores_free"] == 18)
    assert two[1].ask("gemm") > 0, "the other goes on"


@pytest.mark.device
def test_a_program_without_its_daemon_fails_closed_in_one_line(node):
    """What is started for a vNPU never runs on the whole device."""
    device = software_environment(SoftwareOptions(), None)
    missing = node.root / "nobody.sock"
    environment = for_tenant(os.environ, device, library_dir() / "libflexnpu.so", missing, "ghost")
    command = [sys.executable, "-c", "import torch, torch_npu; torch.ones(1).npu()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("flexnpu: error")]
    assert len(lines) == 1
    assert "nobody.sock" in lines[0]
