# SPDX-License-Identifier: Apache-2.0
"""A program that decodes with a Hugging Face model, token by token, as often as it is told.

    python -m flexnpu.bench.decode_loop

Says {"ready": true}; for each number on a line of its standard input it decodes so many tokens and says how long that
took: {"wall_s": …, "cpu_s": …}, CPU time of all its threads.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
import torch_npu
import transformers

_LAYERS = 12
_CONTEXT = 64


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    config = transformers.Qwen2Config(
        hidden_size=256,
        intermediate_size=512,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=_LAYERS,
        vocab_size=1000,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model = model.half().npu().train(mode=False)
    _decode(model, 8)
    _keep_threads_apart()
    _say({"ready": True})
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        _decode(model, int(line))
        _say({"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu})


def _keep_threads_apart() -> None:
    """This one on a processor of its own, as torch_npu's CPU_AFFINITY_CONF has it, and the others on the rest: how the
    kernel happens to spread them makes several per cent.
    """
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        return
    for thread in (int(each.name) for each in Path("/proc/self/task").iterdir()):
        os.sched_setaffinity(thread, processors[:1] if thread == os.getpid() else processors[1:])


@torch.inference_mode()
def _decode(model: torch.nn.Module, tokens: int) -> None:
    cache = transformers.DynamicCache()
    model(torch.zeros(1, _CONTEXT, dtype=torch.int64, device="npu"), past_key_values=cache, use_cache=True)
    token = torch.zeros(1, 1, dtype=torch.int64, device="npu")
    for _ in range(tokens):
        model(token, past_key_values=cache, use_cache=True)
        torch_npu.npu.synchronize()


def _say(told: dict[str, object]) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
