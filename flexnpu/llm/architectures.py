# SPDX-License-Identifier: Apache-2.0
"""The architectures that can be read, as one table.

The four differ, as far as bytes and operations go, in biases and in two small norms; a row says which, and what
transformers assumes when config.json leaves the field out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Architecture:
    """What config.json does not say."""

    qkv_bias: bool  # biases on q, k and v when `attention_bias` is absent
    output_bias: bool  # `attention_bias` also puts one on the output projection
    head_norms: bool  # RMSNorm over the head dimension of q and k
    window_needs_switch: bool  # sliding_window counts only with use_sliding_window


ARCHITECTURES = {
    "LlamaForCausalLM": Architecture(qkv_bias=False, output_bias=True, head_norms=False, window_needs_switch=True),
    "MistralForCausalLM": Architecture(qkv_bias=False, output_bias=False, head_norms=False, window_needs_switch=False),
    "Qwen2ForCausalLM": Architecture(qkv_bias=True, output_bias=False, head_norms=False, window_needs_switch=True),
    "Qwen3ForCausalLM": Architecture(qkv_bias=False, output_bias=True, head_norms=True, window_needs_switch=True),
}
# config.json files written by hand or by old tools name the family alone.
BY_MODEL_TYPE = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
