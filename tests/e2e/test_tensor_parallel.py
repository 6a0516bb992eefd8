# SPDX-License-Identifier: Apache-2.0
"""One vNPU over two devices that it shares in time: two ranks, collectives, and a neighbour on one of the devices."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_node import Node, eventually

from flexnpu.paths import library_dir

# The first process starts the second; each rank works on the vNPU's device of its number.
RANKS = """
import json, os, subprocess, sys
rank = int(os.environ.get("RANK", "0"))
other = None
if rank == 0:
    other = subprocess.Popen([sys.executable, "-c", os.environ["PROGRAM"]], env={**os.environ, "RANK": "1"},
                             stdout=subprocess.DEVNULL)
import torch, torch_npu, torch.distributed as dist
torch.npu.set_device(rank)
dist.init_process_group("hccl", init_method="file://" + os.environ["STORE"], rank=rank, world_size=2)
half = torch.full((64, 64), 0.5, device="npu")
total = 0.0
for step in range(60):
    part = half @ half
    dist.all_reduce(part)
    total += part[0, 0].item()
torch.npu.synchronize()
assert rank != 0 or other.wait(100) == 0
print(json.dumps(dict(devices=torch.npu.device_count(), total=total)), flush=True)
"""
NEIGHBOUR = """
import json, torch, torch_npu
x = torch.ones(512, 512, device="npu")
steps = 0
print(json.dumps(dict(started=True)), flush=True)
while True:
    y = x @ x
    steps += 1
    if steps % 50 == 0:
        torch.npu.synchronize()
        print(json.dumps(dict(steps=steps)), flush=True)
"""


@pytest.fixture
def node() -> Iterator[Node]:
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", library_dir())
    node.start("--soc", "Ascend910B2", "--devices", "2")
    node.env |= {"STORE": str(parent / "store"), "PROGRAM": RANKS, "OMP_NUM_THREADS": "1"}
    node.env |= {"HCCL_BUFFSIZE": "10", "HCCL_CONNECT_TIMEOUT": "120"}
    yield node
    node.clean_up()
    shutil.rmtree(parent)


@pytest.mark.device
def test_ranks_of_a_time_shared_vnpu_meet_while_a_neighbour_has_its_turns(node: Node) -> None:
    neighbour = node.program(
        "run", "--name", "neighbour", "--device", "0", "--cores", "24", "--memory", "1GiB", "--share", "50%", "--",
        sys.executable, "-c", NEIGHBOUR,
    )  # fmt: skip
    assert neighbour.line() == {"started": True}
    wide = node.program(
        "run", "--name", "wide", "--device", "0,1", "--cores", "24", "--memory", "1GiB", "--share", "50%", "--",
        sys.executable, "-c", RANKS,
    )  # fmt: skip
    eventually(lambda: [vnpu.tenants for vnpu in node.client().vnpus() if vnpu.name == "wide"] == [2], within=60)
    before = neighbour.line()["steps"]
    assert wide.line() == {"devices": 2, "total": pytest.approx(60 * 2 * 64 * 0.25)}
    assert neighbour.line()["steps"] > before
