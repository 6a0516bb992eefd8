# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ANN401 - torch and its tensors have no types here
"""The program that `flexnpu calibrate --live` runs on the device: operators on so many cores, one line of JSON.

Cores are limited the way CANN has it: advice to the tiling of what is launched from then on. Times are the device's
own, between two events on a stream.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from statistics import median
from typing import Any

REPEATS = 5
# m, n, k: large enough to compute, and one row to stream weights; sizes between them for the surface.
GEMMS = ((4096, 4096, 4096), (1, 8192, 8192), (1, 4096, 4096), (64, 4096, 4096), (512, 4096, 4096), (1024, 8192, 8192))
# Sequences and their lengths: 32 heads of 128 over 8 key-value heads.
CACHES = ((8, 2048), (32, 2048), (64, 4096))
HEADS, KV_HEADS, WIDTH, BLOCK = 32, 8, 128, 128


def main(cores: int | None = None) -> None:
    """Prints what was measured on so many cores (all, when none are given).

    One count per process: an operator that was launched before keeps the tiling it had.
    """
    # The device's own environment has them.
    torch: Any = import_module("torch")
    torch_npu: Any = import_module("torch_npu")

    torch.npu.set_device(0)
    if cores is not None:
        torch.npu.set_device_limit(0, cores, 2 * cores)
    count = int(torch.npu.get_device_limit(0)["cube_core_num"])
    operators = [*_gemms(torch), *_caches(torch, torch_npu)]
    rows = [{**operator, "run": None, "seconds": _time(torch, operator["run"])} for operator in operators]
    json.dump({"soc": torch.npu.get_device_name(0), "cores": count, "rows": rows}, sys.stdout)
    sys.stdout.write("\n")


def _gemms(torch: Any) -> list[dict[str, Any]]:
    found = []
    for m, n, k in GEMMS:
        left, right = torch.empty(m, k, dtype=torch.bfloat16).npu(), torch.empty(k, n, dtype=torch.bfloat16).npu()
        bound = "compute" if m >= 1024 else "memory" if m == 1 else ""
        found.append(
            {
                "name": f"gemm {m} x {k} x {n}",
                "op": "gemm",
                "bound": bound,
                "sizes": {"m": m, "n": n, "k": k},
                "run": lambda left=left, right=right: torch.matmul(left, right),
            }
        )
    return found


def _caches(torch: Any, torch_npu: Any) -> list[dict[str, Any]]:
    found = []
    for batch, length in CACHES:
        query = torch.empty(batch, HEADS, 1, WIDTH, dtype=torch.bfloat16).npu()
        keys = torch.empty(batch, KV_HEADS, length, WIDTH, dtype=torch.bfloat16).npu()
        run = _attend(torch_npu, query, keys, [length] * batch)
        sizes = {"batch": batch, "length": length, "heads": HEADS, "kv_heads": KV_HEADS, "head_dim": WIDTH}
        name = f"decode attention {batch} x {length}"
        found.append({"name": name, "op": "generation", "bound": "memory", "sizes": sizes, "run": run})
    return found


def _attend(torch_npu: Any, query: Any, keys: Any, lengths: list[int]) -> Callable[[], Any]:
    return lambda: torch_npu.npu_fused_infer_attention_score(
        query,
        keys,
        keys,
        num_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        input_layout="BNSD",
        scale=WIDTH**-0.5,
        actual_seq_lengths_kv=lengths,
    )


def _time(torch: Any, run: Callable[[], Any]) -> float:
    """Median seconds of the device; the first run, which tiles and loads, is not counted."""
    times: list[float] = []
    for turn in range(REPEATS + 1):
        start, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        if turn:
            times.append(float(start.elapsed_time(end)) / 1e3)
    return median(times)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
