# SPDX-License-Identifier: Apache-2.0
"""torch.distributed with backend "hccl": one process per rank, each with a software device, judged by gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.environment import merged

Ranks = Callable[..., list[Any]]

START = """
import datetime, json, os, time
import torch, torch_npu, torch.distributed as dist
rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
torch.npu.set_device(rank)
dist.init_process_group("hccl", init_method="file://" + os.environ["STORE"], rank=rank, world_size=ranks)
"""


@pytest.fixture
def start_ranks(state_dir: Path) -> Iterator[Callable[..., list[subprocess.Popen[str]]]]:
    started: list[subprocess.Popen[str]] = []

    def start(
        code: str, ranks: int, environment: dict[str, str] | None = None, **options: Any
    ) -> list[subprocess.Popen[str]]:
        software = software_environment(SoftwareOptions(devices=ranks, **options), state_dir)
        common = merged(os.environ, software) | {"WORLD_SIZE": str(ranks), "STORE": str(state_dir / "store")}
        # Two cores serve all ranks; the watchdog of torch_npu has nothing to add to HCCL's own timeouts.
        common |= {"OMP_NUM_THREADS": "1", "HCCL_ASYNC_ERROR_HANDLING": "0"} | (environment or {})
        for rank in range(ranks):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", START + code],
                    env=common | {"RANK": str(rank)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def on_ranks(start_ranks: Callable[..., list[subprocess.Popen[str]]]) -> Ranks:
    """Runs the code on every rank; what each prints last, as JSON, in order of rank."""

    def run(code: str, ranks: int, **options: Any) -> list[Any]:
        answers = []
        for process in start_ranks(code + "\ndist.destroy_process_group()", ranks, **options):
            out, err = process.communicate(timeout=280)
            assert process.returncode == 0, err[-3000:]
            answers.append(json.loads(out.splitlines()[-1]))
        return answers

    return run


def nothing_left(state_dir: Path) -> bool:
    return not list(state_dir.glob("softnpu-comm-*"))


# Every collective on the same numbers through HCCL and gloo. What either of the two does not offer is named, so that
# the test says so when that changes: torch_npu knows no HCCL type for a sum of bool, and gloo none for int16.
COLLECTIVES = """
host = dist.new_group(backend="gloo")
differ, refused, compared = [], set(), 0

def both(name, op, *tensors):
    global compared
    on_host, on_device = [t.clone() for t in tensors], [t.npu() for t in tensors]
    dtype = str(tensors[0].dtype)[6:]
    for group, values in ((None, on_device), (host, on_host)):
        try:
            op(values, group)
        except Exception as error:
            refused.add((name, dtype, "gloo" if group else "hccl"))
            return
    compared += 1
    loose = tensors[0].dtype in (torch.float16, torch.bfloat16)
    for expected, got in zip(on_host, on_device):
        if not torch.allclose(expected.double(), got.cpu().double(), rtol=1e-2 if loose else 1e-6, atol=0):
            differ.append((name, dtype, expected.flatten()[:4].tolist(), got.flatten()[:4].tolist()))

def ring(t, group):
    there, back = (rank + 1) % ranks, (rank - 1) % ranks
    ops = [dist.P2POp(dist.isend, t[0], there, group=group), dist.P2POp(dist.irecv, t[1], back, group=group)]
    for work in dist.batch_isend_irecv(ops):
        work.wait()

def pairs(t, group):
    if rank ^ 1 < ranks:
        (dist.send if rank % 2 == 0 else dist.recv)(t[0], rank ^ 1, group=group)

def reduce(t, group):
    dist.reduce(t[0], ranks - 1, group=group)
    if rank != ranks - 1:
        t[0].zero_()  # undefined off the root

n, last = ranks, ranks - 1
for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int32, torch.int64,
              torch.float64, torch.bool, torch.int16):
    x = torch.randint(0, 4, (37,), generator=torch.Generator().manual_seed(rank)).to(dtype)
    blank = torch.zeros_like(x)
    for op in ("SUM", "MAX", "MIN", "PRODUCT"):
        both("all_reduce " + op, lambda t, g: dist.all_reduce(t[0], getattr(dist.ReduceOp, op), group=g), x)
    both("broadcast", lambda t, g: dist.broadcast(t[0], 1, group=g), x)
    both("reduce", reduce, x)
    both("all_gather", lambda t, g: dist.all_gather(t[1:], t[0], group=g), x, *[blank] * n)
    both("all_gather_into_tensor", lambda t, g: dist.all_gather_into_tensor(t[1], t[0], group=g), x,
         blank.repeat(n))
    both("reduce_scatter", lambda t, g: dist.reduce_scatter(t[0], t[1:], group=g), blank, *[x] * n)
    both("reduce_scatter_tensor", lambda t, g: dist.reduce_scatter_tensor(t[0], t[1], group=g), blank, x.repeat(n))
    both("all_to_all_single", lambda t, g: dist.all_to_all_single(t[0], t[1], group=g), blank[:3 * n], x[:3 * n])
    both("all_to_all_single, uneven",
         lambda t, g: dist.all_to_all_single(t[0], t[1], [rank + 1] * n, list(range(1, n + 1)), group=g),
         torch.zeros(n * (rank + 1), dtype=dtype), x[:n * (n + 1) // 2])
    both("all_to_all", lambda t, g: dist.all_to_all(t[n:], t[:n], group=g), *[x[i:i + 2] for i in range(n)],
         *[blank[:2]] * n)
    both("scatter", lambda t, g: dist.scatter(t[0], t[1:] if rank == last else None, src=last, group=g), blank,
         *[x.roll(i) for i in range(n)])
    both("gather", lambda t, g: dist.gather(t[0], t[1:] if rank == last else None, dst=last, group=g), x, *[blank] * n)
    both("batch_isend_irecv", ring, x, blank)
    both("send and recv", pairs, x)
dist.barrier()
print(json.dumps([differ, compared, sorted(refused)]))
"""
HCCL_REFUSES = {
    (name, dtype)
    for name in ("all_reduce SUM", "all_reduce MAX", "all_reduce MIN", "all_reduce PRODUCT", "reduce",
                 "reduce_scatter", "reduce_scatter_tensor")
    for dtype in ("float64", "bool", "uint8")
}  # fmt: skip


@pytest.mark.device
@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_every_collective_gives_gloos_result(on_ranks, state_dir, ranks):
    for differ, compared, refused in on_ranks(COLLECTIVES, ranks):
        assert differ == []
        assert compared >= 120, refused
        assert {(name, dtype) for name, dtype, by in refused if by == "hccl"} <= HCCL_REFUSES
    assert nothing_left(state_dir)


@pytest.mark.device
def test_groups_of_some_ranks_work_side_by_side_and_asynchronously(on_ranks):
    answers = on_ranks(
        """
halves = [dist.new_group([0, 1]), dist.new_group([2, 3])]
odd = dist.new_group([1, 3])
own = halves[rank // 2]
x, y = torch.full((1 << 20,), rank + 1.0).npu(), torch.full((5,), rank + 1.0).npu()
works = [dist.all_reduce(x, group=own, async_op=True), dist.all_reduce(y, async_op=True)]
for work in works:
    work.wait()
if rank % 2:
    dist.broadcast(y, 3, group=odd)
z = x + y[0]
print(json.dumps([x[-1].item(), y[0].item(), z[7].item(), all(work.is_completed() for work in works)]))
""",
        4,
    )
    assert answers == [[3.0, 10.0, 13.0, True]] * 2 + [[7.0, 10.0, 17.0, True]] * 2


TRAINING = """
from torch.nn.parallel import DistributedDataParallel
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

def model():
    torch.manual_seed(7)
    nn = torch.nn
    return nn.Sequential(nn.Linear(16, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4))

def train(wrap, device):
    trained = wrap(model().to(device))
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-2)
    data = torch.Generator().manual_seed(rank)
    losses = []
    for _ in range(10):
        x = torch.randn(32, 16, generator=data)
        loss = torch.nn.functional.cross_entropy(trained(x.to(device)), x[:, :4].argmax(1).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

def sharded(module):
    fully_shard(module[0])
    return fully_shard(module)

host = dist.new_group(backend="gloo")
print(json.dumps([
    train(lambda module: DistributedDataParallel(module, process_group=host), "cpu"),
    train(lambda module: DistributedDataParallel(module, device_ids=[rank]), "npu"),
    train(lambda module: FullyShardedDataParallel(module, device_id=torch.npu.current_device()), "npu"),
    train(sharded, "npu"),
]))
"""


@pytest.mark.device
def test_ddp_and_fsdp_train_as_gloo_does_on_the_cpu(on_ranks):
    for host, *device in on_ranks(TRAINING, 2):
        assert host[-1] < host[0]
        for losses in device:
            assert losses == pytest.approx(host, rel=1e-4)


@pytest.mark.device
def test_a_captured_collective_takes_place_at_every_replay(on_ranks):
    answers = on_ranks(
        """
x = torch.full((8,), rank + 1.0).npu()
dist.all_reduce(x)
graph = torch.npu.NPUGraph()
with torch.npu.graph(graph):
    dist.all_reduce(x)
    x.add_(rank)
torch.npu.synchronize()
before = x[0].item()
graph.replay()
graph.replay()
print(json.dumps([before, x[0].item()]))
""",
        2,
    )
    # 3 on both; then 6 (+ rank): 6 and 7; then 13 (+ rank).
    assert answers == [[3.0, 13.0], [3.0, 14.0]]


@pytest.mark.device
def test_a_collective_begins_when_the_last_rank_has_come_and_takes_its_bytes(on_ranks):
    answers = on_ranks(
        """
x = torch.empty(64 << 20, dtype=torch.float32, device="npu")
dist.all_reduce(x)
torch.npu.synchronize()
dist.barrier()
torch.npu.synchronize()
if rank == 1:
    time.sleep(1)
start, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
start.record()
dist.all_reduce(x)
end.record()
torch.npu.synchronize()
print(json.dumps(start.elapsed_time(end)))
""",
        2,
        clock="paced",
        math="skip",
    )
    # Half the tensor goes out and comes in twice over a modelled 196 GB/s.
    transfer = 1e3 * (256 << 20) / 196e9
    assert answers[0] > 900
    assert transfer < answers[1] < 300


@pytest.mark.device
def test_a_killed_rank_is_an_error_of_the_others(start_ranks, state_dir):
    ranks = start_ranks(
        """
x = torch.ones(1000).npu()
dist.all_reduce(x)
torch.npu.synchronize()
print("ready", flush=True)
if rank == 1:
    time.sleep(1000)
try:
    dist.all_reduce(x)
    torch.npu.synchronize()
    print(json.dumps("no error"))
except RuntimeError as error:
    print(json.dumps(str(error)))
os._exit(0)
""",
        3,
    )
    for process in ranks:
        assert any(line == "ready\n" for line in iter(process.stdout.readline, ""))
    ranks[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    errors = [json.loads(ranks[rank].communicate(timeout=60)[0]) for rank in (0, 2)]
    assert time.monotonic() - killed < 30
    assert any(f"rank 1 (process {ranks[1].pid}) is gone" in error for error in errors), errors
    assert all("communicator" in error for error in errors), errors
    assert nothing_left(state_dir)


def errors_of(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in processes]


SAY = """
try:
    wrong()
    torch.npu.synchronize()
    print(json.dumps("no error"))
except RuntimeError as error:
    print(json.dumps(str(error)))
os._exit(0)
"""


@pytest.mark.device
def test_a_rank_that_does_not_come_ends_in_hccls_timeouts(start_ranks, state_dir):
    code = """
x = torch.ones(4).npu()
dist.all_reduce(x)
torch.npu.synchronize()
def wrong():
    if rank == 0:
        dist.all_reduce(x)
    else:
        time.sleep(20)
"""
    first, second = errors_of(start_ranks(code + SAY, 2, {"HCCL_EXEC_TIMEOUT": "3"}))
    assert "rank 1 did not come within 3 s (HCCL_EXEC_TIMEOUT)" in first
    assert second == "no error"
    assert nothing_left(state_dir)


@pytest.mark.device
def test_a_rank_that_never_joins_ends_in_the_connect_timeout(start_ranks, state_dir):
    code = """
def wrong():
    if rank == 0:
        dist.all_reduce(torch.ones(4).npu())
    else:
        time.sleep(8)
"""
    first, _ = errors_of(start_ranks(code + SAY, 2, {"HCCL_CONNECT_TIMEOUT": "3"}))
    assert "rank 1 of 2 did not come within 3 s (HCCL_CONNECT_TIMEOUT)" in first
    assert nothing_left(state_dir)


@pytest.mark.device
def test_ranks_in_different_collectives_are_told_so(start_ranks, state_dir):
    code = """
x = torch.ones(4).npu()
def wrong():
    dist.all_reduce(x) if rank == 0 else dist.all_reduce(x[:3])
"""
    errors = errors_of(start_ranks(code + SAY, 2))
    assert any("hcom_allReduce_ of 3 elements" in error and "hcom_allReduce_ of 4" in error for error in errors)
    assert "no error" not in errors
    assert nothing_left(state_dir)
