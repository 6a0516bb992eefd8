# SPDX-License-Identifier: Apache-2.0
"""The architectures that can be read, as one table.

A row says what config.json does not: biases, the two small norms, and what the fields of experts are called. The field
names are Hugging Face's, and so are the defaults that transformers assumes for absent ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ExpertFields:
    """Names of config.json's fields about routed experts, several where versions differ."""

    count: tuple[str, ...]
    width: str  # of one expert's MLP
    shared_width: str | None = None  # of all shared experts together
    shared_count: str | None = None  # of shared experts as wide as a routed one
    shared_gate: bool = False  # a linear layer that weighs the shared experts
    first_dense: str | None = None  # so many first layers are dense
    every: str | None = None  # every n-th layer has experts
    # Qwen counts from one: layer i has experts when (i + 1) is a multiple; DeepSeek from zero.
    every_from_one: bool = False
    score_bias: bool = False  # one number per expert that corrects the router's scores
    matrix: str = "mlp.experts.0.down_proj"  # name of one, as lists of what is quantised have it


@dataclass(frozen=True, slots=True)
class Architecture:
    """What config.json does not say."""

    qkv_bias: bool = False  # biases on q, k and v when config.json says nothing about them
    output_bias: bool = False  # `attention_bias` also puts one on the output projection
    head_norms: bool = False  # RMSNorm over the head dimension of q and k
    window_needs_switch: bool = True  # sliding_window counts only with use_sliding_window
    latent: bool = False  # multi-head latent attention: keys and values are compressed together
    experts: ExpertFields | None = None


_QWEN2_EXPERTS = ExpertFields(
    count=("num_experts",),
    width="moe_intermediate_size",
    shared_width="shared_expert_intermediate_size",
    shared_gate=True,
    every="decoder_sparse_step",
    every_from_one=True,
)
_QWEN3_EXPERTS = ExpertFields(
    # transformers 5 writes num_local_experts.
    count=("num_experts", "num_local_experts"),
    width="moe_intermediate_size",
    every="decoder_sparse_step",
    every_from_one=True,
)
_V2_EXPERTS = ExpertFields(
    count=("n_routed_experts",),
    width="moe_intermediate_size",
    shared_count="n_shared_experts",
    first_dense="first_k_dense_replace",
    every="moe_layer_freq",
)
_V3_EXPERTS = replace(_V2_EXPERTS, score_bias=True)

ARCHITECTURES = {
    "LlamaForCausalLM": Architecture(output_bias=True),
    "MistralForCausalLM": Architecture(window_needs_switch=False),
    "MixtralForCausalLM": Architecture(
        window_needs_switch=False,
        experts=ExpertFields(
            count=("num_local_experts",), width="intermediate_size", matrix="block_sparse_moe.experts.0.w2"
        ),
    ),
    "Qwen2ForCausalLM": Architecture(qkv_bias=True),
    "Qwen3ForCausalLM": Architecture(output_bias=True, head_norms=True),
    "Qwen2MoeForCausalLM": Architecture(qkv_bias=True, experts=_QWEN2_EXPERTS),
    "Qwen3MoeForCausalLM": Architecture(output_bias=True, head_norms=True, experts=_QWEN3_EXPERTS),
    "DeepseekV2ForCausalLM": Architecture(latent=True, experts=_V2_EXPERTS),
    "DeepseekV3ForCausalLM": Architecture(latent=True, experts=_V3_EXPERTS),
}
# config.json files written by hand or by old tools name the family alone.
BY_MODEL_TYPE = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
}
