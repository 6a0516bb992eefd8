# SPDX-License-Identifier: Apache-2.0
"""ModelShape: the sizes of a decoder-only transformer and what follows from them.

Everything is per model instance on one device; nothing here knows about devices or time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flexnpu.errors import InvalidValue
from flexnpu.llm.architectures import ARCHITECTURES, BY_MODEL_TYPE, DTYPE_BYTES


class ModelError(InvalidValue):
    """A config.json that cannot be read as a model's shape."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a dense decoder with grouped-query attention and a gated MLP."""

    architecture: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    dtype_bytes: int
    tied_embeddings: bool
    qkv_bias: bool
    output_bias: bool
    head_norms: bool
    mlp_bias: bool
    window: int | None  # attention looks back at most so many tokens

    @classmethod
    def from_config(cls, config: Mapping[str, object] | str | Path) -> ModelShape:
        """The shape in a config.json, given as its path, its folder or its content."""
        raw, source = (config, "model config") if isinstance(config, Mapping) else _load(Path(config))
        name = _architecture(raw, source)
        family = ARCHITECTURES[name]
        hidden, heads = _count(raw, source, "hidden_size"), _count(raw, source, "num_attention_heads")
        biased = bool(raw.get("attention_bias", family.qkv_bias))
        shape = cls(
            architecture=name,
            layers=_count(raw, source, "num_hidden_layers"),
            hidden=hidden,
            intermediate=_count(raw, source, "intermediate_size"),
            heads=heads,
            kv_heads=_count(raw, source, "num_key_value_heads", heads),
            head_dim=_count(raw, source, "head_dim", max(1, hidden // heads)),
            vocab=_count(raw, source, "vocab_size"),
            dtype_bytes=_dtype_bytes(raw, source),
            tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
            qkv_bias=biased,
            output_bias=biased and family.output_bias,
            head_norms=family.head_norms,
            mlp_bias=bool(raw.get("mlp_bias", False)),
            window=_window(raw, source, needs_switch=family.window_needs_switch),
        )
        if shape.heads % shape.kv_heads:
            raise ModelError(
                f"{source}: num_key_value_heads is {shape.kv_heads}; it must divide num_attention_heads ({shape.heads})"
            )
        return shape

    @property
    def q_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def matrix_parameters_per_layer(self) -> int:
        """Weights that multiply tokens in one layer: qkv, o, gate and up, down."""
        attention = self.hidden * (2 * self.q_width + 2 * self.kv_width)
        return attention + 3 * self.hidden * self.intermediate

    @property
    def parameters(self) -> int:
        """All parameters, as published counts have them (tied embeddings once)."""
        norms = 2 * self.hidden + (2 * self.head_dim if self.head_norms else 0)
        biases = (self.q_width + 2 * self.kv_width) * self.qkv_bias + self.hidden * self.output_bias
        biases += (2 * self.intermediate + self.hidden) * self.mlp_bias
        per_layer = self.matrix_parameters_per_layer + norms + biases
        embeddings = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        return self.layers * per_layer + embeddings + self.hidden

    @property
    def weight_bytes(self) -> int:
        return self.parameters * self.dtype_bytes

    @property
    def kv_bytes_per_token(self) -> int:
        return 2 * self.layers * self.kv_width * self.dtype_bytes

    def flops(self, new: int, cached: int = 0) -> int:
        """Operations to run `new` tokens of one request after `cached` ones; logits for the last token only."""
        seen = new + cached if self.window is None else min(new + cached, self.window)
        linear = 2 * new * self.layers * self.matrix_parameters_per_layer + 2 * self.hidden * self.vocab
        attention = self.layers * self.heads * new * seen * (4 * self.head_dim + 2)
        return linear + attention


def _load(path: Path) -> tuple[Mapping[str, object], str]:
    file = path / "config.json" if path.is_dir() else path
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{file}: {error.strerror}; give the model's config.json or the folder that holds it"
        ) from error
    except ValueError as error:
        raise ModelError(f"{file}: not JSON ({error}); give the model's config.json") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{file}: holds {type(raw).__name__}; a config.json is an object")
    return raw, str(file)


def _architecture(raw: Mapping[str, object], source: str) -> str:
    listed = raw.get("architectures")
    name = listed[0] if isinstance(listed, list) and listed else BY_MODEL_TYPE.get(str(raw.get("model_type")))
    if name is None or str(name) not in ARCHITECTURES:
        shown = name if name is not None else raw.get("model_type")
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"{source}: architecture {shown!r} is not known; known are {known}")
    if raw.get("quantization_config"):
        raise ModelError(f"{source}: quantization_config is set; only 16- and 32-bit weights can be forecast yet")
    return str(name)


def _count(raw: Mapping[str, object], source: str, field: str, default: int | None = None) -> int:
    value = raw.get(field)
    if value is None and default is not None:
        return default
    if value is None:
        raise ModelError(f"{source}: {field} is missing; give an unmodified Hugging Face config.json")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{source}: {field} is {value!r}; it must be a whole number of 1 or more")
    return value


def _dtype_bytes(raw: Mapping[str, object], source: str) -> int:
    # transformers 5 writes `dtype`, earlier ones `torch_dtype`. Serving engines load in 16 bits when neither is there.
    name = str(raw.get("dtype") or raw.get("torch_dtype") or "bfloat16").removeprefix("torch.")
    if name not in DTYPE_BYTES:
        raise ModelError(f"{source}: dtype is {name!r}; it must be one of {', '.join(DTYPE_BYTES)}")
    return DTYPE_BYTES[name]


def _window(raw: Mapping[str, object], source: str, *, needs_switch: bool) -> int | None:
    if raw.get("sliding_window") is None or (needs_switch and not raw.get("use_sliding_window", False)):
        return None
    return _count(raw, source, "sliding_window")
