# SPDX-License-Identifier: Apache-2.0
"""Runs torch's own operator samples (OpInfo) on this process's NPU and on the CPU; prints a JSON line per operator.

    GRADIENTS=1 flexnpu softnpu run -- python tests/device/opinfo.py float32 [NAME…]

Each operator runs in a fork of its own, since an operator that fails leaves torch_npu's queue of launches unusable.
Line: {"name": …, "good": samples that agree, "unbound": why it cannot run or null, "wrong": [what differs]}.
"""

from __future__ import annotations

import functools
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
from torch.utils._pytree import tree_flatten, tree_map

SAMPLES = 12
GRADIENTS = os.environ.get("GRADIENTS") == "1"
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


def gradients(op: Any, given: Any) -> list[torch.Tensor]:
    """What flows back to each tensor of `given` from a sum of the results in which each place has another weight."""
    leaves = []

    def leaf(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            leaves.append(value.clone().requires_grad_())
            return leaves[-1]
        return value

    first, args, kwargs = tree_map(leaf, given)
    results = [
        each
        for each in tree_flatten(op(first, *args, **kwargs))[0]
        if isinstance(each, torch.Tensor) and each.is_floating_point() and each.requires_grad
    ]
    sums = [(each * torch.linspace(0.5, 1.5, each.numel()).reshape(each.shape).to(each)).sum() for each in results]
    found = torch.autograd.grad(sum(sums), leaves, allow_unused=True)
    return [each if each is not None else torch.zeros(()) for each in found]


def compare(op: Any, dtype: torch.dtype) -> dict[str, Any]:
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype in WIDE else {"rtol": 2e-2, "atol": 1e-2}
    good, wrong = 0, []

    def call(given: Any) -> Any:
        return op(given[0], *given[1], **given[2])

    functions = {"forward": call}
    if GRADIENTS and op.supports_autograd and dtype.is_floating_point:
        functions["backward"] = functools.partial(gradients, op)
    for sample in samples(op, dtype):
        for name, function in functions.items():
            # Copies first: some operators change what they are given.
            here = (sample.input, sample.args, sample.kwargs)
            there = tree_map(on_npu, here)
            try:
                wanted = tree_map(on_cpu, function(tree_map(on_cpu, here)))
            except Exception:
                continue
            try:
                found = tree_map(on_cpu, function(there))
                torch.testing.assert_close(found, wanted, equal_nan=True, **tolerance)
                good += 1
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                unbound = [line for line in lines if "is not bound" in line]
                if unbound:
                    return {"good": good, "unbound": unbound[0], "wrong": wrong}
                wrong.append(f"{name}: " + " / ".join(line.strip() for line in lines if line.strip())[:400])
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
