# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from configs import BILLIONS, CONFIGS, PUBLISHED, TRAINING

from flexnpu.llm import ModelError, ModelShape
from flexnpu.llm.presets import available, find_config


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shape_agrees_with_the_published_counts(name):
    shape = ModelShape.from_config(CONFIGS[name])
    assert (shape.parameters, shape.kv_bytes_per_token) == PUBLISHED[name]
    assert shape.weight_bytes == 2 * shape.parameters


@pytest.mark.parametrize("name", BILLIONS)
def test_a_mixture_has_the_published_parameters_in_all_and_per_token(name):
    shape = ModelShape.from_config(CONFIGS[name])
    total, active = BILLIONS[name]
    assert shape.parameters / 1e9 == pytest.approx(total, abs=0.5 if total > 100 else 0.05)
    assert shape.active_parameters / 1e9 == pytest.approx(active, rel=0.02)


def test_latent_attention_caches_one_vector_per_token_and_layer():
    shape = ModelShape.from_config(CONFIGS["DeepSeek-V3"])
    # "70 KB per token" of DeepSeek-V3 beside 516 KB of Llama-3.1 405B: arXiv 2505.09343, table 1.
    assert shape.kv_bytes_per_token == 61 * (512 + 64) * 2 == 70_272


def test_layers_of_a_mixture_are_dense_where_its_config_says_so():
    def sparse(name, **change):
        return ModelShape.from_config(CONFIGS[name] | change).experts.layers

    assert sparse("DeepSeek-V3") == 58
    assert sparse("DeepSeek-V3", moe_layer_freq=2) == 29  # 4, 6, ... 60
    assert sparse("Qwen3-30B-A3B", decoder_sparse_step=2) == 24
    assert sparse("Qwen3-30B-A3B", mlp_only_layers=[0, 47]) == 46
    assert ModelShape.from_config(CONFIGS["Qwen3-30B-A3B"] | {"mlp_only_layers": list(range(48))}).experts is None


def test_the_operations_of_a_mixture_are_those_of_its_active_weights():
    shape = ModelShape.from_config(CONFIGS["Mixtral-8x7B-v0.1"])
    assert shape.flops(1) == pytest.approx(2 * (12.88e9 - shape.vocab * shape.hidden), rel=1e-3)


@pytest.mark.parametrize("name", TRAINING)
def test_the_operations_of_a_sequence_are_as_published(name):
    """Training is forward and twice as much backward, with logits for every token."""
    shape, tokens = ModelShape.from_config(CONFIGS[name]), 4096
    forward = shape.flops(tokens) + (tokens - 1) * 2 * shape.hidden * shape.vocab
    assert 3 * forward / tokens / 1e9 == pytest.approx(TRAINING[name], rel=0.015)


def test_causal_attention_costs_half_a_square():
    shape = ModelShape.from_config(CONFIGS["Llama-3.1-8B"])
    attention = shape.flops(4096) - 4096 * shape.flops(1) + 4095 * 2 * shape.hidden * shape.vocab
    assert attention == pytest.approx(32 * 32 * (4 * 128 + 2) * (4096 * 4095 // 2), rel=1e-6)


@pytest.mark.parametrize("name", available())
def test_every_model_that_ships_can_be_read(name):
    assert ModelShape.from_config(find_config(name)[1]).weight_bytes > 1e9


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
        ({"num_hidden_layers": -3}, "num_hidden_layers is -3; it must be a whole number of 1 to"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000; it must be 1 to 10000"),
        ({"hidden_size": 10**30}, "hidden_size is 10+; it must be"),
        ({"vocab_size": 151936.0}, "vocab_size is 151936.0"),
        ({"num_key_value_heads": 5}, r"num_key_value_heads is 5; it must divide num_attention_heads \(28\)"),
        ({"torch_dtype": "int3"}, "dtype is 'int3'"),
        ({"quantization_config": [4]}, r"quantization_config is \[4\]; it must be an object"),
        ({"quantization_config": {"bits": 4}}, "quant_method 'bits' cannot be forecast; known are fp8"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused_by_field(change, complaint):
    with pytest.raises(ModelError, match=complaint):
        ModelShape.from_config(CONFIGS["Qwen2.5-7B"] | change)


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        (
            "Mixtral-8x7B-v0.1",
            {"num_experts_per_tok": 9},
            r"num_experts_per_tok is 9; it must be 1 to num_local_experts",
        ),
        ("Qwen3-30B-A3B", {"decoder_sparse_step": 0}, "decoder_sparse_step is 0"),
        ("Qwen3-30B-A3B", {"mlp_only_layers": 3}, "mlp_only_layers is 3; it must be a list"),
        ("DeepSeek-V3", {"kv_lora_rank": None}, "kv_lora_rank is missing"),
        ("DeepSeek-V3", {"first_k_dense_replace": -1}, "first_k_dense_replace is -1"),
    ],
)
def test_a_mixture_that_cannot_be_read_is_refused_by_field(name, change, complaint):
    with pytest.raises(ModelError, match=complaint):
        ModelShape.from_config(CONFIGS[name] | change)


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, "\x00"])
def test_a_file_that_is_no_config_is_refused_by_name(tmp_path, content):
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(ModelError, match=r"config\.json: (not JSON|holds list)"):
        ModelShape.from_config(file)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.json: No such file"):
        ModelShape.from_config(tmp_path / "nothing.json")
