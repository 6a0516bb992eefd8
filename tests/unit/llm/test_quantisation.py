# SPDX-License-Identifier: Apache-2.0
"""quantization_config as public models have it."""

import pytest
from configs import CONFIGS

from flexnpu.llm import ModelError, ModelShape

LLAMA = CONFIGS["Llama-3.1-8B"]
HEADLESS = 8_030_261_248 - 2 * 128256 * 4096  # without embedding and output head; norms are among them
HALF = 2 * 2 * 128256 * 4096  # bytes of those two in 16 bits


def scheme(bits, kind="int", group=None):
    return {"num_bits": bits, "type": kind, "group_size": group, "strategy": "group" if group else "channel"}


def compressed(weights, inputs=None, **more):
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"], **more}


CASES = {
    # RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8
    "fp8": (compressed(scheme(8, "float"), scheme(8, "float")), "fp8", 1.0),
    # RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8
    "w8a8": (compressed(scheme(8), scheme(8)), "int8", 1.0),
    "w8a16": (compressed(scheme(8)), "int8_wo", 1.0),
    # RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16: a 16-bit scale per 128
    "w4a16": (compressed(scheme(4, group=128)), "int4", 0.5 + 2 / 128),
    # hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4 and -GPTQ-INT4
    "awq": (
        {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True,
         "modules_to_not_convert": None},
        "int4", 0.5 + 2.5 / 128,
    ),
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True}, "int4", 0.5 + 2.5 / 128),
    "gptq8": ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "int8_wo", 1.0),
    # nvidia/Llama-3.1-8B-Instruct-FP8
    "modelopt": ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}, "fp8", 1.0),
    "ascend": ({"quant_method": "ascend"}, "int8", 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_weights_take_what_their_format_and_its_scales_do(name):
    config, weights, each = CASES[name]
    shape = ModelShape.from_config(LLAMA | {"quantization_config": config})
    assert (shape.weights, shape.attention_weights, shape.lm_head_weights) == (weights, weights, "bf16")
    assert shape.weight_bytes == pytest.approx(HALF + HEADLESS * each, rel=2e-4)
    assert shape.parameters == 8_030_261_248


def test_deepseek_keeps_a_scale_per_block_and_its_head_in_16_bits():
    shape = ModelShape.from_config(CONFIGS["DeepSeek-V3"])
    assert (shape.weights, shape.scale_bytes, shape.lm_head_weights, shape.kv_dtype) == (
        "fp8", 4 / 128**2, "bf16", "bf16",
    )  # fmt: skip
    # 671 billion bytes, and a second byte of the embedding and the head.
    assert shape.weight_bytes == pytest.approx(671.03e9 + 2 * 129280 * 7168, rel=1e-3)


@pytest.mark.parametrize(
    ("config", "bytes_per_token"),
    [
        ({"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, 65_536),
        ({"kv_cache_scheme": None}, 131_072),
    ],
)
def test_a_quantised_cache_takes_a_byte_per_number(config, bytes_per_token):
    config = compressed(scheme(8, "float"), scheme(8, "float"), **config)
    assert ModelShape.from_config(LLAMA | {"quantization_config": config}).kv_bytes_per_token == bytes_per_token


def test_mindie_says_it_beside_its_quantisation():
    shape = ModelShape.from_config(LLAMA | {"quantize": "w8a8", "quantization_config": {"kv_quant_type": "C8"}})
    assert (shape.weights, shape.kv_dtype) == ("int8", "int8")
    shape = ModelShape.from_config(LLAMA | {"quantize": "w8a16", "kv_quant_type": "C8"})
    assert (shape.weights, shape.kv_dtype) == ("int8_wo", "int8")


def test_what_is_left_out_keeps_16_bits():
    config = compressed(scheme(4, group=128), ignore=["re:.*self_attn.*", "re:.*lm_head"])
    shape = ModelShape.from_config(LLAMA | {"quantization_config": config})
    assert (shape.weights, shape.attention_weights) == ("int4", "bf16")
    attention = 32 * shape.attention_matrices
    assert (
        shape.weight_bytes
        > ModelShape.from_config(LLAMA | {"quantization_config": compressed(scheme(4, group=128))}).weight_bytes
        + attention * 1.4
    )


def test_a_router_that_is_left_out_changes_nothing():
    config = {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["gate", "lm_head"]}
    shape = ModelShape.from_config(CONFIGS["Mixtral-8x7B-v0.1"] | {"quantization_config": config})
    assert shape.weights == shape.attention_weights == "int4"
    assert shape.weight_bytes == pytest.approx(24.65e9, rel=0.02)  # TheBloke/Mixtral-8x7B-v0.1-AWQ: 24.65 GB


def test_what_is_asked_for_takes_the_place_of_what_config_json_says():
    shape = ModelShape.from_config(CONFIGS["DeepSeek-V3"], weights="int8", kv="int8")
    assert (shape.weights, shape.attention_weights, shape.scale_bytes, shape.kv_dtype) == ("int8", "int8", 0.0, "int8")
    plain = ModelShape.from_config(LLAMA | {"quantization_config": {"quant_method": "mxfp4"}}, weights="bf16")
    assert plain.weight_bytes == 2 * plain.parameters


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"quant_method": "bitsandbytes"}, "quant_method 'bitsandbytes' cannot be forecast; known are fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "'modelopt' cannot be forecast"),
        ({"quant_method": "awq", "bits": 3}, "awq with bits 3; it must be 4 or 8"),
        ({"quant_method": "compressed-tensors"}, "without config_groups"),
        (compressed(scheme(4), scheme(8)), "4-bit int weights and quantised activations cannot be forecast"),
        (compressed(scheme(8), ignore=["re:("]), r"names 're:\(', which is no expression"),
        (compressed(scheme(8), ignore="lm_head"), "ignore is 'lm_head'; it must be a list"),
        (compressed(scheme(8), ignore=["re:.*mlp.*"]), "leaves the MLPs of most layers as they are"),
        ({"quant_method": "fp8", "ignored_layers": [1]}, "ignored_layers is"),
    ],
)
def test_a_quantisation_that_cannot_be_forecast_is_refused(config, complaint):
    with pytest.raises(ModelError, match=complaint):
        ModelShape.from_config(LLAMA | {"quantization_config": config})


def test_a_format_that_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(ModelError, match="weight dtype 'int3' is not known; give one of fp32, bf16"):
        ModelShape.from_config(LLAMA, weights="int3")
    with pytest.raises(ModelError, match="kv dtype 'int4' is not known"):
        ModelShape.from_config(LLAMA, kv="int4")
