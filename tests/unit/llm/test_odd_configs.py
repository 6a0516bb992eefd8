# SPDX-License-Identifier: Apache-2.0
"""Whatever is in a config.json, it is read, or refused in one line."""

from configs import CONFIGS
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.llm import ModelError, ModelShape

FIELDS = sorted({field for config in CONFIGS.values() for field in config} | {"layer_types", "quantize", "dtype"})
QUANTISATION = [
    "quant_method", "bits", "group_size", "weight_block_size", "config_groups", "ignore", "ignored_layers",
    "modules_to_not_convert", "kv_cache_scheme", "kv_cache_quant_algo", "quant_algo", "lm_head",
]  # fmt: skip
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["fp8", "awq", "gptq", "compressed-tensors", "ascend", "modelopt", "w8a8", "re:[", "Linear"]),
)
anything = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([*QUANTISATION, "weights", "input_activations", "num_bits", "type", "targets", "a"]), inner
        ),
    ),
    max_leaves=8,
)


def read_or_refused(config):
    try:
        shape = ModelShape.from_config(config)
    except ModelError as error:
        assert "\n" not in str(error)
        assert len(str(error)) > 20
    else:
        assert shape.weight_bytes > 0
        assert shape.kv_bytes_per_token > 0
        assert shape.flops(7, 3) > 0
        assert 0 < shape.active_parameters <= shape.parameters


@settings(deadline=None)
@given(name=st.sampled_from(sorted(CONFIGS)), changes=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=3))
def test_any_value_of_any_field(name, changes):
    read_or_refused(CONFIGS[name] | changes)


@settings(deadline=None)
@given(
    name=st.sampled_from(["Llama-3.1-8B", "DeepSeek-V3"]),
    config=st.dictionaries(st.sampled_from(QUANTISATION), anything, max_size=5),
    method=st.sampled_from(["fp8", "awq", "gptq", "compressed-tensors", "ascend", "modelopt"]),
)
def test_any_quantisation(name, config, method):
    read_or_refused(CONFIGS[name] | {"quantization_config": {"quant_method": method} | config})
