# SPDX-License-Identifier: Apache-2.0
"""Every operator that is bound, and its gradient, against the CPU, on torch's own samples for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.environment import merged

PROGRAM = Path(__file__).with_name("opinfo.py")
RANDOM = "its numbers are random, and drawn from another generator"
MASK = "torch_npu's indices are a mask of bits"
NARROW = "torch_npu's indices are int32"
KEEPS = "torch_npu gives statistics in evaluation too"
RESHAPE = "torch_npu cannot reshape a gradient of no elements"
EMPTY = "its values are not defined"
# Where the NPU differs from the CPU by torch_npu's own choice.
DIFFERENT = {
    "__rmatmul__": RESHAPE,
    "_native_batch_norm_legit": KEEPS,
    "exponential": RANDOM,
    "empty": EMPTY,
    "empty_like": EMPTY,
    "empty_permuted": EMPTY,
    "empty_strided": EMPTY,
    "new_empty": EMPTY,
    "new_empty_strided": EMPTY,
    "as_strided.partial_views": "its samples are views of a larger storage, which a copy to a device does not keep",
    "double": "torch_npu keeps float32 where float64 is asked for",
    "float_power": "torch_npu keeps float32 where float64 is asked for",
    "matmul": RESHAPE,
    "native_batch_norm": KEEPS,
    "native_dropout_backward": "torch_npu's mask is one of bits",
    "nn.functional.adaptive_max_pool3d": NARROW,
    "nn.functional.binary_cross_entropy_with_logits": "torch_npu gives the target no gradient",
    "nn.functional.gelu": "torch_npu asks for the tanh form in either case",
    "nn.functional.max_pool1d": MASK,
    "nn.functional.max_pool2d": MASK,
    "nn.functional.max_pool3d": NARROW,
    "nn.functional.rrelu": RANDOM,
    "tensor_split": "it wants the sections on the CPU",
    "to": "torch_npu knows no memory formats, and keeps float32 where float64 is asked for",
}
REFUSED_BY_TORCH_NPU = (
    "Only contiguous_format or preserve_format is supported",
    "NPU contiguous operator only supported contiguous memory format",
    "from the 'SparseCsrnpu' backend",
)


def results(state_dir: Path, dtype: str) -> list[dict]:
    environment = {
        **merged(os.environ, software_environment(SoftwareOptions(), state_dir)),
        "OMP_NUM_THREADS": "1",
        "GRADIENTS": "1",
    }
    parts = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), dtype],
            env={**environment, "PART": f"{part}/2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for part in range(2)
    ]
    found = []
    for process in parts:
        out, errors = process.communicate()
        assert process.returncode == 0, errors[-2000:]
        found += [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return found


@pytest.mark.timeout(600)
def test_bound_operators_compute_what_the_cpu_does(state_dir):
    found = results(state_dir, "float32")
    wrong = {
        each["name"]: each["wrong"][0]
        for each in found
        if each["wrong"]
        and each["name"] not in DIFFERENT
        and not all(any(refusal in why for refusal in REFUSED_BY_TORCH_NPU) for why in each["wrong"])
    }
    assert wrong == {}, f"try: flexnpu softnpu run -- python {PROGRAM} float32 {' '.join(wrong)}"
    assert sum(each["good"] > 0 and each["unbound"] is None for each in found) > 620


def test_tensors_print_as_they_do_on_the_cpu(on_device):
    said = on_device("""
there = [torch.tensor([1.0, float("inf"), float("nan"), 1e-9]), torch.arange(6).view(2, 3), torch.ones(2, 2) > 0]
print(json.dumps([[repr(each), repr(each.npu()).replace(", device='npu:0'", "")] for each in there]))
""")
    assert all(cpu == npu for cpu, npu in said)


def test_results_whose_size_only_the_device_knows(on_device):
    assert on_device("""
x = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]).npu()
print(json.dumps([x.nonzero().tolist(), [each.tolist() for each in torch.nonzero(x, as_tuple=True)],
                  x[x > 1].tolist(), x[x > 9].tolist()]))
""") == [[[0, 0], [0, 2], [1, 2]], [[0, 0, 1], [0, 2, 2]], [2.0, 3.0], []]
