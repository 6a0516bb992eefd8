# SPDX-License-Identifier: Apache-2.0
"""The steps of an unmodified model under `flexnpu run`, as its report page has them."""

from __future__ import annotations

import sys

import pytest

# The passes of a small model, and then the page that libflexnpu.so writes, read where it is mapped.
PROGRAM = """
import ctypes, json, time, torch, torch_npu, transformers
small = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=211, max_position_embeddings=256, attn_implementation="sdpa")
model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**small)).eval().half().npu()
def page():
    line = next(line for line in open("/proc/self/maps") if "flexnpu-report" in line)
    words = (ctypes.c_uint64 * 16).from_address(int(line.split("-")[0], 16))
    names = ("sequence", "phase", "requests", "new_tokens", "context_sum", "context_most", "graph", "ended_ns")
    return dict(zip(names, words[8:16]), totals=words[5:8])
def run(model, ids, steps):
    cache = transformers.DynamicCache(config=model.config)
    model(ids, past_key_values=cache, use_cache=True)
    for _ in range(steps):
        model(ids[:, :1], past_key_values=cache, use_cache=True)
    torch.npu.synchronize()
with torch.inference_mode():
    run(model, torch.zeros(2, 17, dtype=torch.int64).npu(), 5)
    first = page()
    run(model, torch.zeros(1, 40, dtype=torch.int64).npu(), 3)
    second = page()
print(json.dumps(dict(first=first, second=second, now=time.clock_gettime_ns(time.CLOCK_MONOTONIC))))
"""


@pytest.mark.device
def test_each_step_of_a_model_is_on_its_report_page(node):
    options = ["--name", "model", "--cores", "8", "--memory", "2GiB"]
    found = node.program("run", *options, "--", sys.executable, "-c", PROGRAM).line()
    first, second = found["first"], found["second"]
    assert first["sequence"] == 2 * 6
    assert first["totals"] == [1, 5, 0]
    counts = {name: first[name] for name in ("phase", "requests", "new_tokens", "context_sum", "context_most", "graph")}
    assert counts == {
        "phase": 2, "requests": 2, "new_tokens": 2, "context_sum": 44, "context_most": 22, "graph": 0,
    }  # fmt: skip
    assert second["sequence"] == 2 * 10
    assert second["totals"] == [2, 8, 0]
    assert (second["requests"], second["context_most"]) == (1, 43)
    assert 0 < first["ended_ns"] < second["ended_ns"] < found["now"]
