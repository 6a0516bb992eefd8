# SPDX-License-Identifier: Apache-2.0
"""NPU tensors and events that processes hand to each other."""

from __future__ import annotations

import pytest

SHARE = """
import torch.multiprocessing as multiprocessing

def add_one(tensors, sums):
    for tensor in iter(tensors.get, None):
        tensor += 1
        sums.put(tensor.sum().item())
        del tensor

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    tensors, sums = context.Queue(), context.Queue()
    other = context.Process(target=add_one, args=(tensors, sums))
    other.start()
    seen = []
    for size, row in (1000, None), (3 << 20, None), (8, 1):
        tensor = torch.ones(2, size, device="npu")[row] if row else torch.zeros(size, device="npu")
        tensors.put(tensor)
        seen.append([sums.get(timeout=100), tensor.sum().item()])
    tensors.put(None)
    other.join(100)
    print(json.dumps([seen, other.exitcode]))
"""


@pytest.mark.parametrize("segments", ["False", "True"])
def test_a_tensor_in_a_queue_is_the_same_memory_for_both_processes(on_device, monkeypatch, segments):
    monkeypatch.setenv("PYTORCH_NPU_ALLOC_CONF", f"expandable_segments:{segments}")
    seen, code = on_device(SHARE)
    assert seen == [[1000.0] * 2, [float(3 << 20)] * 2, [16.0] * 2]
    assert code == 0


def test_a_freed_tensor_ends_the_operator_and_not_the_process(on_device):
    message, after = on_device("""
import ctypes
x = torch.ones(16 << 20, device="npu")
torch.npu.synchronize()
assert ctypes.CDLL("libascendcl.so").aclrtFree(ctypes.c_void_p(x.data_ptr())) == 0
try:
    x.add_(1)
    torch.npu.synchronize()
    message = ""
except RuntimeError as error:
    message = str(error)
print(json.dumps([message, (torch.ones(5).npu() * 2).sum().item()]))
""")
    assert "aclnnInplaceAdds failed" in message
    assert "is freed" in message
    assert after == 10.0
