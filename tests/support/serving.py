# SPDX-License-Identifier: Apache-2.0
"""Instances of the serving example as programs on a node, with a small model whose tokens can be compared."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from local_node import Program

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES.parent / "tests" / "unit" / "pd_serving"))
from engine_client import Client  # noqa: E402 - of the serving example's tests

ENGINE = EXAMPLES / "pd_serving" / "engine.py"
MODEL = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300,
    "max_position_embeddings": 1024, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    "eos_token_id": 3, "initializer_range": 0.2, "torch_dtype": "float32",
}  # fmt: skip
COMMON = ("--dtype", "float32", "--random-weights", "0", "--max-len", "512", "--cache-blocks", "40", "--max-batch", "8")
REQUESTS = 6


class Served(Client):
    """A program that says where it listens."""

    def __init__(self, program: Program) -> None:
        assert program.process.stdout is not None
        self.program = program
        self.port = next(int(line.rsplit(":", 1)[1]) for line in program.process.stdout if "listens on" in line)

    @property
    def ready(self) -> bool:
        return bool(self.ask("GET", "/ready")[0] == 200)


def asked(number: int) -> dict[str, Any]:
    return {"prompt": [(7 * number + i) % 300 for i in range(3 + 41 * number)], "max_tokens": 60, "ignore_eos": True}


def answers(engine: Served) -> list[list[int]]:
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(lambda number: engine.tokens(**asked(number)), range(REQUESTS)))
