# SPDX-License-Identifier: Apache-2.0
"""A Qwen2 model's weights on the device, with the projections that read the same input merged into one matrix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from pd_serving.errors import ConfigError
from pd_serving.kernels import Heads


class Layer(NamedTuple):
    """One decoder layer; matrices are stored (out, in) and kept here transposed, as a matmul reads them."""

    input_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    post_norm: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """Everything a forward pass reads."""

    layers: tuple[Layer, ...]
    embedding: Tensor
    norm: Tensor
    head: Tensor
    rope: Tensor  # (positions, 2 * head_dim): cosines, then sines
    heads: Heads
    eps: float
    eos: frozenset[int]

    @property
    def vocabulary(self) -> int:
        return int(self.embedding.shape[0])


def read_config(path: Path) -> Qwen2Config:
    """A Hugging Face config.json of a Qwen2 model."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model config {str(path)!r} cannot be read ({error}); name a Hugging Face config.json"
        ) from error
    if fields.get("model_type") != "qwen2":
        raise ConfigError(f"{path}: model_type is {fields.get('model_type')!r}; this engine serves 'qwen2'")
    return Qwen2Config(**fields)


def load(  # noqa: PLR0913 - three of them say where values come from, and are named in every call
    config: Qwen2Config,
    device: torch.device,
    dtype: torch.dtype,
    *,
    positions: int,
    seed: int | None,
    folder: Path | None,
) -> Weights:
    """Weights from a folder of safetensors, or random ones from a seed, or, with neither, whatever the memory holds."""
    if folder is not None:
        model = Qwen2ForCausalLM.from_pretrained(folder, config=config, dtype=dtype)
    elif seed is not None:
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config).to(dtype)
    else:
        with torch.device("meta"):
            model = Qwen2ForCausalLM(config).to(dtype)
    return from_model(model, device, positions)


@torch.no_grad()
def from_model(model: Qwen2ForCausalLM, device: torch.device, positions: int) -> Weights:
    """Move a model to the device layer by layer. One on `meta` gets memory and no values."""
    config = model.config
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = Heads(config.num_attention_heads, config.num_key_value_heads, dim)
    trunk = model.model
    layers = []
    for layer in trunk.layers:
        attention, mlp = layer.self_attn, layer.mlp
        inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
        layers.append(
            Layer(
                input_norm=_merge([layer.input_layernorm.weight], device),
                qkv=_merge([each.weight for each in inputs], device).t(),
                qkv_bias=_merge([each.bias for each in inputs], device),
                out=_merge([attention.o_proj.weight], device).t(),
                post_norm=_merge([layer.post_attention_layernorm.weight], device),
                gate_up=_merge([mlp.gate_proj.weight, mlp.up_proj.weight], device).t(),
                down=_merge([mlp.down_proj.weight], device).t(),
            )
        )
    embedding = _merge([trunk.embed_tokens.weight], device)
    tied = model.lm_head.weight is trunk.embed_tokens.weight
    eos = config.eos_token_id
    return Weights(
        layers=tuple(layers),
        embedding=embedding,
        norm=_merge([trunk.norm.weight], device),
        head=(embedding if tied else _merge([model.lm_head.weight], device)).t(),
        rope=_rope(config, dim, positions).to(device, embedding.dtype),
        heads=heads,
        eps=float(config.rms_norm_eps),
        eos=frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos]),
    )


def _merge(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    if parts[0].is_meta:
        rows = sum(part.shape[0] for part in parts)
        return torch.empty((rows, *parts[0].shape[1:]), dtype=parts[0].dtype, device=device)
    return torch.cat([part.detach() for part in parts]).to(device)


def _rope(config: Qwen2Config, dim: int, positions: int) -> Tensor:
    parameters = getattr(config, "rope_parameters", None) or {}
    kind = parameters.get("rope_type", "default")
    if kind != "default":
        raise ConfigError(f"rope_type {kind!r}; this engine knows 'default'")
    theta = float(parameters.get("rope_theta") or getattr(config, "rope_theta", 10000.0))
    inverse = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim)
    angles = torch.outer(torch.arange(positions).float(), inverse)
    angles = torch.cat((angles, angles), -1)
    return torch.cat((angles.cos(), angles.sin()), -1)
