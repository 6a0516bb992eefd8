# SPDX-License-Identifier: Apache-2.0
"""What the software NPU costs beside PyTorch on the CPU, on this machine: ratios of two things run in turn.

    flexnpu softnpu run -- python tests/bench/softnpu.py [--json FILE] [--rounds N]

* forward passes with exact math on `npu:0` over the same on the CPU, with torch's threads as they are;
* import of torch_npu and the first operator, in seconds over torch's own import.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch_npu  # noqa: F401, registers the device
import transformers

Inputs = dict[str, torch.Tensor]

IMPORT_TORCH = "import torch"
IMPORT_NPU = "import torch, torch_npu; torch.ones(1, device='npu') + 1; torch.npu.synchronize()"


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def import_seconds(rounds: int) -> dict[str, float]:
    # torch imports torch_npu by itself unless it is told not to.
    environment = os.environ | {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)

    def median(code: str) -> float:
        return statistics.median(seconds(lambda: run(code)) for _ in range(rounds))

    torch_s, npu_s = median(IMPORT_TORCH), median(IMPORT_NPU)
    return {"torch_s": torch_s, "torch_npu_and_first_operator_s": npu_s, "difference_s": npu_s - torch_s}


def models() -> dict[str, tuple[Callable[[], torch.nn.Module], Inputs]]:
    """Name -> how to make the model, and the inputs of one forward pass."""
    transformers.logging.set_verbosity_error()
    text = {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "vocab_size": 8000,
    }
    ids = torch.randint(0, 8000, (4, 128))
    return {
        "resnet": (
            lambda: transformers.ResNetForImageClassification(
                transformers.ResNetConfig(
                    embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic"
                )
            ),
            {"pixel_values": torch.rand(4, 3, 224, 224)},
        ),
        "bert": (lambda: transformers.BertModel(transformers.BertConfig(**text)), {"input_ids": ids}),
        "qwen": (
            lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**text, num_key_value_heads=2)),
            {"input_ids": ids},
        ),
    }


def forward_ratios(rounds: int) -> dict[str, dict[str, float]]:
    results = {}
    for name, (make, inputs) in models().items():
        model = make().eval()
        there = make().eval()
        there.load_state_dict(model.state_dict())
        there = there.npu()
        inputs_there = {key: value.npu() for key, value in inputs.items()}

        def on_cpu(model: torch.nn.Module = model, inputs: Inputs = inputs) -> None:
            model(**inputs)

        def on_npu(model: torch.nn.Module = there, inputs: Inputs = inputs_there) -> None:
            model(**inputs)
            torch.npu.synchronize()

        with torch.no_grad():
            pairs = [(seconds(on_cpu), seconds(on_npu)) for _ in range(rounds + 2)][2:]
        results[name] = {
            "cpu_s": statistics.median(cpu for cpu, _ in pairs),
            "npu_s": statistics.median(npu for _, npu in pairs),
            "ratio": statistics.median(npu / cpu for cpu, npu in pairs),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--rounds", type=int, default=15, help="of each forward pass; imports take a third")
    options = parser.parse_args()
    results = {
        "forward": forward_ratios(options.rounds),
        "import": import_seconds(max(1, options.rounds // 3)),
    }
    text = json.dumps(results, indent=2)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
