# SPDX-License-Identifier: Apache-2.0
"""Fields of config.json on models' pages (huggingface.co), as far as shapes need them, and what a page says of size."""

QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "torch_dtype": "bfloat16"}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "bfloat16"}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
CONFIGS: dict[str, dict[str, object]] = {
    "Qwen2.5-7B": QWEN2 | {
        "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        "sliding_window": 131072, "use_sliding_window": False, "tie_word_embeddings": False,
    },
    "Qwen2.5-0.5B": QWEN2 | {
        "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
        "use_sliding_window": False, "tie_word_embeddings": True,
    },
    "Llama-3.1-8B": LLAMA | {
        "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
        "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    },
    "Llama-3.1-70B": LLAMA | {
        "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
    },
    "Llama-3.1-405B": LLAMA | {
        "hidden_size": 16384, "intermediate_size": 53248,
        "num_hidden_layers": 126, "num_attention_heads": 128, "num_key_value_heads": 8, "vocab_size": 128256,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
    },
    "Llama-3.2-1B": LLAMA | {
        "hidden_size": 2048, "intermediate_size": 8192, "head_dim": 64,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
    },
    "Qwen3-8B": QWEN3 | {
        "hidden_size": 4096, "intermediate_size": 12288,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "attention_bias": False, "tie_word_embeddings": False, "sliding_window": None,
    },
    "Qwen3-14B": QWEN3 | {
        "hidden_size": 5120, "intermediate_size": 17408,
        "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "attention_bias": False, "tie_word_embeddings": False, "sliding_window": None,
    },
    "Mistral-7B-v0.1": {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "sliding_window": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    "Mixtral-8x7B-v0.1": {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096,
        "intermediate_size": 14336, "num_local_experts": 8, "num_experts_per_tok": 2,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    "Qwen1.5-MoE-A2.7B": {
        "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "hidden_size": 2048,
        "intermediate_size": 5632, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
        "num_experts": 60, "num_experts_per_tok": 4, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 151936,
        "sliding_window": 32768, "use_sliding_window": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    "Qwen3-30B-A3B": {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048,
        "intermediate_size": 6144, "moe_intermediate_size": 768, "head_dim": 128,
        "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 151936,
        "attention_bias": False, "use_sliding_window": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    "Qwen3-235B-A22B": {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 4096,
        "intermediate_size": 12288, "moe_intermediate_size": 1536, "head_dim": 128,
        "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "num_hidden_layers": 94, "num_attention_heads": 64, "num_key_value_heads": 4, "vocab_size": 151936,
        "attention_bias": False, "use_sliding_window": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    "DeepSeek-V2-Lite": {
        "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 2048,
        "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 64, "n_shared_experts": 2,
        "num_experts_per_tok": 6, "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1,
        "q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 102400,
        "attention_bias": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    "DeepSeek-V2": {
        "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 5120,
        "intermediate_size": 12288, "moe_intermediate_size": 1536, "n_routed_experts": 160, "n_shared_experts": 2,
        "num_experts_per_tok": 6, "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 8, "topk_group": 3,
        "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "num_hidden_layers": 60, "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 102400,
        "attention_bias": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    "DeepSeek-V3": {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168,
        "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1,
        "num_experts_per_tok": 8, "first_k_dense_replace": 3, "moe_layer_freq": 1, "n_group": 8, "topk_group": 4,
        "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280,
        "attention_bias": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "num_nextn_predict_layers": 1,
        "quantization_config": {
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128],
        },
    },
}  # fmt: skip

# Parameters as in the safetensors metadata on each model's page, where it has one of the whole model, and KV bytes per
# token in 16 bits.
PUBLISHED = {
    "Qwen2.5-7B": (7_615_616_512, 57_344),
    "Qwen2.5-0.5B": (494_032_768, 12_288),
    "Llama-3.1-8B": (8_030_261_248, 131_072),
    "Llama-3.1-70B": (70_553_706_496, 327_680),
    "Llama-3.1-405B": (405_853_388_800, 516_096),
    "Llama-3.2-1B": (1_235_814_400, 32_768),
    "Qwen3-8B": (8_190_735_360, 147_456),
    "Qwen3-14B": (14_768_307_200, 163_840),
    "Mistral-7B-v0.1": (7_241_732_096, 131_072),
    "Mixtral-8x7B-v0.1": (46_702_792_704, 131_072),
    "Qwen1.5-MoE-A2.7B": (14_315_784_192, 196_608),
    "Qwen3-30B-A3B": (30_532_122_624, 98_304),
    "Qwen3-235B-A22B": (235_093_634_560, 192_512),
    "DeepSeek-V2-Lite": (15_706_484_224, 31_104),
    "DeepSeek-V2": (235_741_434_880, 69_120),
}
# Billions of parameters in all and active, as each model's page or paper rounds them.
BILLIONS = {
    "Mixtral-8x7B-v0.1": (46.7, 12.9),  # arXiv 2401.04088, mistral.ai/news/mixtral-of-experts
    "Qwen1.5-MoE-A2.7B": (14.3, 2.7),  # huggingface.co/Qwen/Qwen1.5-MoE-A2.7B
    "Qwen3-30B-A3B": (30.5, 3.3),  # huggingface.co/Qwen/Qwen3-30B-A3B
    "Qwen3-235B-A22B": (235, 22),  # huggingface.co/Qwen/Qwen3-235B-A22B
    "DeepSeek-V2": (236, 21),  # arXiv 2405.04434
    "DeepSeek-V3": (671, 37),  # arXiv 2412.19437; its page counts 685 with the layer that predicts further tokens
}
# GFLOP to train a token in sequences of 4096, attention causal: arXiv 2505.09343, table 2.
TRAINING = {"DeepSeek-V3": 250, "DeepSeek-V2": 155, "Llama-3.1-405B": 2448}
