# SPDX-License-Identifier: Apache-2.0
import pytest
from configs import CONFIGS

from flexnpu.llm import ModelError, ModelShape, Parallel


def shape(name):
    return ModelShape.from_config(CONFIGS[name])


@pytest.mark.parametrize("name", ["Qwen3-8B", "Llama-3.1-70B", "Mixtral-8x7B-v0.1", "DeepSeek-V3", "Qwen3-235B-A22B"])
@pytest.mark.parametrize("tensor", [2, 4])
def test_the_weights_of_all_devices_are_the_model_and_what_each_has_of_its_own(name, tensor):
    whole, part = shape(name), Parallel(tensor).share(shape(name))
    assert whole.weight_bytes <= tensor * part.weight_bytes < 1.02 * whole.weight_bytes


def test_experts_on_devices_of_their_own_are_whole():
    whole, part = shape("DeepSeek-V3"), Parallel(expert=32).share(shape("DeepSeek-V3"))
    assert part.experts.kept == 8
    assert part.experts.intermediate == whole.experts.intermediate
    routed = 58 * 256 * 3 * 7168 * 2048
    assert part.parameters == whole.parameters - routed * 31 // 32


def test_a_token_meets_its_part_of_the_experts_of_a_device():
    whole, part = shape("Qwen3-30B-A3B"), Parallel(expert=8).share(shape("Qwen3-30B-A3B"))
    experts = 48 * 3 * 2048 * 768
    assert whole.active_parameters - part.active_parameters == 7 * experts


def test_the_cache_is_cut_by_heads_and_never_under_one():
    model = shape("Qwen3-30B-A3B")  # 4 heads of keys and values
    assert Parallel(4).share(model).kv_bytes_per_token == model.kv_bytes_per_token // 4
    assert Parallel(8).share(model).kv_bytes_per_token == model.kv_bytes_per_token // 4


def test_every_device_caches_the_compressed_vector():
    model = shape("DeepSeek-V3")
    assert Parallel(8).share(model).kv_bytes_per_token == model.kv_bytes_per_token


def test_one_device_has_it_all():
    assert Parallel().share(shape("Qwen3-8B")) == shape("Qwen3-8B")


@pytest.mark.parametrize(
    ("parallel", "groups", "devices"),
    [
        (Parallel(), 1, 1),
        (Parallel(8), 1, 8),
        (Parallel(8, 8), 1, 8),
        (Parallel(1, 64), 64, 64),
        (Parallel(4, 32), 8, 32),
    ],
)
def test_groups_meet_in_the_experts(parallel, groups, devices):
    assert (parallel.groups, parallel.devices) == (groups, devices)


@pytest.mark.parametrize(
    ("name", "degrees", "complaint"),
    [
        ("Qwen2.5-7B", {"tensor": 3}, r"tensor parallel 3; it must divide num_attention_heads \(28\)"),
        ("Qwen2.5-7B", {"expert": 2}, "expert parallel 2 for a model without experts"),
        ("DeepSeek-V3", {"expert": 48}, "expert parallel 48; it must divide the 256 experts"),
        ("DeepSeek-V3", {"tensor": 8, "expert": 12}, "expert parallel 12 .* multiple of tensor parallel"),
        ("DeepSeek-V3", {"tensor": 0}, "tensor parallel is 0; it must be 1 or more"),
        ("DeepSeek-V3", {"imbalance": float("nan")}, "imbalance is nan; it must be 1 or more"),
    ],
)
def test_what_does_not_fit_is_refused(name, degrees, complaint):
    with pytest.raises(ModelError, match=complaint):
        Parallel(**degrees).share(shape(name))
