# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from flexnpu.llm import ModelError, ModelShape

# Fields as in the config.json on each model's page; the counts are those of its safetensors metadata.
CONFIGS = {
    "Qwen2.5-7B": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        "sliding_window": 131072, "use_sliding_window": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    "Qwen2.5-0.5B": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
        "use_sliding_window": False, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    },
    "Llama-3.1-8B": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    "Qwen3-8B": {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "attention_bias": False,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "sliding_window": None,
    },
    "Mistral-7B-v0.1": {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "sliding_window": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
}  # fmt: skip
PUBLISHED = {  # parameters, KV bytes per token
    "Qwen2.5-7B": (7_615_616_512, 57_344),
    "Qwen2.5-0.5B": (494_032_768, 12_288),
    "Llama-3.1-8B": (8_030_261_248, 131_072),
    "Qwen3-8B": (8_190_735_360, 147_456),
    "Mistral-7B-v0.1": (7_241_732_096, 131_072),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shape_agrees_with_the_published_counts(name):
    shape = ModelShape.from_config(CONFIGS[name])
    assert (shape.parameters, shape.kv_bytes_per_token) == PUBLISHED[name]
    assert shape.weight_bytes == 2 * shape.parameters


def test_a_file_and_its_folder_read_the_same(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIGS["Qwen2.5-7B"]))
    from_dict = ModelShape.from_config(CONFIGS["Qwen2.5-7B"])
    assert ModelShape.from_config(file) == ModelShape.from_config(str(tmp_path)) == from_dict


def test_the_operations_of_a_token_are_twice_the_weights_it_meets():
    shape = ModelShape.from_config(CONFIGS["Llama-3.1-8B"])
    met = shape.parameters - shape.vocab * shape.hidden  # the input embedding is looked up, not multiplied
    assert shape.flops(1) == pytest.approx(2 * met, rel=1e-3)


def test_a_sliding_window_bounds_attention_only_where_the_model_uses_it():
    mistral, qwen = (ModelShape.from_config(CONFIGS[name]) for name in ("Mistral-7B-v0.1", "Qwen2.5-7B"))
    assert mistral.flops(1, 100_000) == mistral.flops(1, 4_095)
    assert qwen.flops(1, 100_000) > qwen.flops(1, 4_095)


def test_float32_doubles_the_bytes():
    shape = ModelShape.from_config(CONFIGS["Qwen2.5-7B"] | {"torch_dtype": None, "dtype": "float32"})
    assert shape.kv_bytes_per_token == 2 * 57_344


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"architectures": ["MambaForCausalLM"]}, r"'MambaForCausalLM' is not known; known are .*Qwen2ForCausalLM"),
        ({"architectures": None, "model_type": "bert"}, "architecture 'bert' is not known"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"num_hidden_layers": -3}, "num_hidden_layers is -3"),
        ({"num_key_value_heads": 5}, r"num_key_value_heads is 5; it must divide num_attention_heads \(28\)"),
        ({"torch_dtype": "int3"}, "dtype is 'int3'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is set"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused_by_field(change, complaint):
    with pytest.raises(ModelError, match=complaint):
        ModelShape.from_config(CONFIGS["Qwen2.5-7B"] | change)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.json: No such file"):
        ModelShape.from_config(tmp_path / "nothing.json")
