# SPDX-License-Identifier: Apache-2.0
"""Runs torch's own operator samples (OpInfo) on this process's NPU and on the CPU; prints a JSON line per operator.

    flexnpu softnpu run -- python tests/device/opinfo.py float32 [NAME…]

Each operator runs in a fork of its own, since an operator that fails leaves torch_npu's queue of launches unusable.
Line: {"name": …, "good": samples that agree, "unbound": why it cannot run or null, "wrong": [what differs]}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch_npu  # noqa: F401 - brings the device
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_map

SAMPLES = 12
WITHIN = 60  # seconds of one operator
WIDE = {torch.float32, torch.float64, torch.complex64}


def on_npu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().npu()
    return torch.device("npu") if value == "cpu" or value == torch.device("cpu") else value


def on_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def samples(op: Any, dtype: torch.dtype) -> Iterator[Any]:
    torch.manual_seed(0)
    for number, sample in enumerate(op.sample_inputs("cpu", dtype)):
        if number == SAMPLES:
            return
        yield sample


def compare(op: Any, dtype: torch.dtype) -> dict[str, Any]:
    good, wrong = 0, []
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype in WIDE else {"rtol": 2e-2, "atol": 1e-2}
    for sample in samples(op, dtype):
        # A copy first: some operators change what they are given.
        there = tree_map(on_npu, (sample.input, sample.args, sample.kwargs))
        try:
            wanted = tree_map(on_cpu, op(sample.input, *sample.args, **sample.kwargs))
        except Exception:
            continue
        try:
            found = tree_map(on_cpu, op(there[0], *there[1], **there[2]))
            torch.testing.assert_close(found, wanted, equal_nan=True, **tolerance)
            good += 1
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            unbound = [line for line in lines if "is not bound" in line]
            if unbound:
                return {"good": good, "unbound": unbound[0], "wrong": wrong}
            wrong.append(" / ".join(line.strip() for line in lines if line.strip())[:400])
    return {"good": good, "unbound": None, "wrong": wrong}


def in_a_fork(op: Any, dtype: torch.dtype) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(WITHIN)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(writing, json.dumps(compare(op, dtype)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        said = told.read()
    _, status = os.waitpid(child, 0)
    if not said:
        return {"good": 0, "unbound": None, "wrong": [f"ended with {status}"]}
    return json.loads(said)


def main() -> None:
    warnings.filterwarnings("ignore")
    dtype = getattr(torch, sys.argv[1])
    part, parts = (int(number) for number in os.environ.get("PART", "0/1").split("/"))
    chosen = set(sys.argv[2:])
    for number, op in enumerate(op_db):
        name = f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name
        if number % parts == part and dtype in op.supported_dtypes("cpu") and (not chosen or name in chosen):
            print(json.dumps({"name": name, **in_a_fork(op, dtype)}), flush=True)


if __name__ == "__main__":
    main()
