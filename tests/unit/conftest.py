# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from flexnpu.forecast import Forecaster
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape

QWEN25_7B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    "use_sliding_window": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture(scope="session")
def qwen():
    return ModelShape.from_config(QWEN25_7B)


@pytest.fixture(scope="session")
def b2():
    return load_soc("Ascend910B2")


@pytest.fixture(scope="session")
def forecaster(qwen, b2):
    return Forecaster(qwen, b2)


@pytest.fixture
def qwen_config(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(QWEN25_7B))
    return file
