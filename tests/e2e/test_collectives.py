# SPDX-License-Identifier: Apache-2.0
"""torch.distributed across vNPUs: the communicator's buffers are in the ledger, two ranks on one device are refused."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_node import Node, Program

from flexnpu.paths import library_dir

MIB = 2**20

# Says what the communicator took of the vNPU's memory, and what came back when it was destroyed.
RANK = """
import json, os, torch, torch_npu, torch.distributed as dist
def free():
    return torch.npu.mem_get_info()[0]
torch.npu.set_device(0)
dist.init_process_group("hccl", init_method="file://" + os.environ["STORE"], rank=int(os.environ["RANK"]), world_size=2)
a = torch.ones(8, device="npu")
before = free()
dist.all_reduce(a); torch.npu.synchronize()
during = free()
total = a.sum().item()
dist.destroy_process_group()
print(json.dumps(dict(taken=before - during, given_back=free() - during, total=total)), flush=True)
"""


@pytest.fixture
def node() -> Iterator[Node]:
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", library_dir())
    node.start("--soc", "Ascend910B2", "--devices", "2")
    node.env |= {"STORE": str(parent / "store"), "OMP_NUM_THREADS": "1", "HCCL_ASYNC_ERROR_HANDLING": "0"}
    node.env |= {"HCCL_BUFFSIZE": "100", "HCCL_CONNECT_TIMEOUT": "120"}
    yield node
    node.clean_up()
    shutil.rmtree(parent)


def start_rank(node: Node, rank: int, device: int) -> Program:
    node.env["RANK"] = str(rank)
    options = ["--name", f"rank{rank}", "--device", str(device), "--cores", "4", "--memory", "2GiB"]
    return node.program("run", *options, "--", sys.executable, "-c", RANK)


@pytest.mark.device
def test_a_communicators_buffers_are_charged_while_it_lives(node: Node) -> None:
    ranks = [start_rank(node, rank, device=rank) for rank in range(2)]
    for rank in ranks:
        assert rank.line() == {"taken": 200 * MIB, "given_back": 200 * MIB, "total": 16.0}


@pytest.mark.device
def test_the_second_rank_of_a_communicator_on_one_device_is_refused_with_the_reason(node: Node) -> None:
    node.env["HCCL_CONNECT_TIMEOUT"] = "5"
    ranks = [start_rank(node, rank, device=1) for rank in range(2)]
    errors = [rank.process.communicate(timeout=100)[1] for rank in ranks]
    refused = [error for error in errors if "device 1 has a rank of this communicator already" in error]
    assert len(refused) == 1
    assert all(rank.process.returncode != 0 for rank in ranks)
