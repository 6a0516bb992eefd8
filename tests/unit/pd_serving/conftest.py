# SPDX-License-Identifier: Apache-2.0
"""A pair of instances with a tiny random model: on the CPU, or on the NPU where the tests' program has one."""

import json
import os
import sys

import pytest
from engine_pair import EXAMPLES, Pair

TINY = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 211,
    "max_position_embeddings": 1024, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    "eos_token_id": 3, "initializer_range": 0.2,
}  # fmt: skip

sys.path.insert(0, str(EXAMPLES))
os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
try:
    import torch_npu  # noqa: F401
except (ImportError, RuntimeError):
    # transformers imports it wherever it is installed; without CANN that fails, and None means "not there".
    sys.modules["torch_npu"] = None  # type: ignore[assignment]


@pytest.fixture
def tiny_config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture
def pair(tmp_path, tiny_config):
    made = Pair(tmp_path, tiny_config)
    yield made
    made.stop()
