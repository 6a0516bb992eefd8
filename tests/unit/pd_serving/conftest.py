# SPDX-License-Identifier: Apache-2.0
"""A pair of instances with a tiny random model: on the CPU, or on the NPU where the tests' program has one."""

import json
import os
import sys

import pytest
from engine_pair import EXAMPLES, Pair

TINY = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300,
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


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "config.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture(scope="session")
def reference(tiny_config):
    """transformers' own model of the engines' weights."""
    import torch  # noqa: PLC0415 - after what is set up above
    from pd_serving.weights import read_config  # noqa: PLC0415
    from transformers import Qwen2ForCausalLM  # noqa: PLC0415

    torch.manual_seed(0)
    return Qwen2ForCausalLM(read_config(tiny_config)).eval()


@pytest.fixture(scope="session")
def single(tiny_config):
    """Prefill and decode in one engine, which cuts prompts into chunks of 40 tokens."""
    from engine_single import Single  # noqa: PLC0415 - it imports torch

    with Single(tiny_config, "--chunk", "40", "--max-batch", "12") as made:
        yield made


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tiny_config):
    """For tests that leave it as it was."""
    with Pair(tmp_path_factory.mktemp("pair"), tiny_config, "--chunk", "64") as made:
        yield made


@pytest.fixture
def own_pair(tmp_path, tiny_config):
    with Pair(tmp_path, tiny_config) as made:
        yield made
