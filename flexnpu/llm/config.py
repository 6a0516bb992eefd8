# SPDX-License-Identifier: Apache-2.0
"""Reads a ModelShape from a Hugging Face config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flexnpu.llm.architectures import ARCHITECTURES, BY_MODEL_TYPE, Architecture, ExpertFields
from flexnpu.llm.errors import ModelError
from flexnpu.llm.formats import BY_TORCH_NAME, ELEMENT_BYTES, FORMATS, known_format
from flexnpu.llm.quantisation import Quantisation, read_quantisation
from flexnpu.llm.shape import Experts, Latent, ModelShape

_MOST = 10_000_000  # of anything that is counted: the largest vocabularies have a quarter of a million
_MOST_LAYERS = 10_000


def read_shape(config: Mapping[str, object] | str | Path, *, weights: str | None, kv: str | None) -> ModelShape:
    """The shape in a config.json, given as its path, its folder or its content; formats in place of its own."""
    raw, source = (config, "model config") if isinstance(config, Mapping) else _load(Path(config))
    read = _Fields(raw, source)
    name = read.architecture()
    family = ARCHITECTURES[name]
    hidden, heads = read.count("hidden_size"), read.count("num_attention_heads")
    layers = read.count("num_hidden_layers")
    if layers > _MOST_LAYERS:
        raise ModelError(f"{source}: num_hidden_layers is {layers}; it must be 1 to {_MOST_LAYERS}")
    kv_heads = read.count("num_key_value_heads", heads)
    if heads % kv_heads:
        raise ModelError(f"{source}: num_key_value_heads is {kv_heads}; it must divide num_attention_heads ({heads})")
    biased = read.flag("attention_bias", default=read.flag("qkv_bias", default=family.qkv_bias))
    dtype = read.dtype()
    # What is asked for takes the place of config.json's own, which then need not be readable.
    given = known_format(weights, FORMATS, "weight dtype")
    experts = _experts(read, family, layers)
    mlp = family.experts.matrix if family.experts and experts else "mlp.down_proj"
    quantisation = Quantisation(given) if given else read_quantisation(raw, source, layers, mlp)
    chosen = quantisation.weights or dtype
    return ModelShape(
        architecture=name,
        layers=layers,
        hidden=hidden,
        intermediate=read.count("intermediate_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=read.count("head_dim", max(1, hidden // heads)),
        vocab=read.count("vocab_size"),
        tied_embeddings=read.flag("tie_word_embeddings"),
        qkv_bias=biased,
        output_bias=biased and family.output_bias,
        head_norms=family.head_norms,
        mlp_bias=read.flag("mlp_bias"),
        window=read.window(layers, needs_switch=family.window_needs_switch),
        dtype=dtype,
        weights=chosen,
        attention_weights=chosen if quantisation.attention else dtype,
        scale_bytes=quantisation.scale_bytes,
        lm_head_weights=chosen if quantisation.lm_head else dtype,
        kv_dtype=known_format(kv, ELEMENT_BYTES, "kv dtype") or quantisation.kv or dtype,
        latent=_latent(read) if family.latent else None,
        experts=experts,
    )


def _latent(read: _Fields) -> Latent:
    return Latent(
        q_rank=None if read.raw.get("q_lora_rank") is None else read.count("q_lora_rank"),
        kv_rank=read.count("kv_lora_rank"),
        nope=read.count("qk_nope_head_dim"),
        rope=read.count("qk_rope_head_dim"),
        value=read.count("v_head_dim"),
    )


def _experts(read: _Fields, family: Architecture, layers: int) -> Experts | None:
    fields = family.experts
    # DeepSeek's dense siblings leave the experts out.
    if fields is None or not any(read.raw.get(name) for name in fields.count):
        return None
    field = next(name for name in fields.count if read.raw.get(name))
    count, chosen = read.count(field), read.count("num_experts_per_tok")
    if chosen > count:
        raise ModelError(f"{read.source}: num_experts_per_tok is {chosen}; it must be 1 to {field} ({count})")
    width = read.count(fields.width)
    shared = read.amount(fields.shared_width) if fields.shared_width else 0
    if fields.shared_count:
        shared = width * read.amount(fields.shared_count)
    groups = max(1, read.amount("n_group", 1)) if fields.shared_count else 1
    sparse = _expert_layers(read, fields, layers)
    if not sparse:
        return None
    return Experts(
        layers=sparse,
        kept=count,
        routed=count,
        chosen=chosen,
        intermediate=width,
        shared=shared,
        shared_gate=fields.shared_gate and shared > 0,
        score_bias=fields.score_bias,
        groups=groups,
        chosen_groups=max(1, read.amount("topk_group", groups)) if groups > 1 else 1,
    )


def _expert_layers(read: _Fields, fields: ExpertFields, layers: int) -> int:
    first = read.amount(fields.first_dense) if fields.first_dense else 0
    every = read.count(fields.every, 1) if fields.every else 1
    only = read.raw.get("mlp_only_layers") or ()
    if not isinstance(only, list | tuple):
        raise ModelError(f"{read.source}: mlp_only_layers is {only!r}; it must be a list of layers, such as []")
    shift = 1 if fields.every_from_one else 0
    return sum(1 for i in range(first, layers) if (i + shift) % every == 0 and i not in only)


def _load(path: Path) -> tuple[Mapping[str, object], str]:
    file = path / "config.json" if path.is_dir() else path
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{file}: {error.strerror}; give the model's config.json or the folder that holds it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not JSON ({error}); give the model's config.json") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{file}: holds {type(raw).__name__}; a config.json is an object")
    return raw, str(file)


@dataclass(frozen=True, slots=True)
class _Fields:
    raw: Mapping[str, object]
    source: str

    def architecture(self) -> str:
        listed = self.raw.get("architectures")
        name = listed[0] if isinstance(listed, list) and listed else BY_MODEL_TYPE.get(str(self.raw.get("model_type")))
        if name is None or str(name) not in ARCHITECTURES:
            shown = name if name is not None else self.raw.get("model_type")
            known = ", ".join(ARCHITECTURES)
            raise ModelError(f"{self.source}: architecture {shown!r} is not known; known are {known}")
        return str(name)

    def count(self, field: str, default: int | None = None) -> int:
        return self._whole(field, default, least=1)

    def amount(self, field: str, default: int = 0) -> int:
        return self._whole(field, default, least=0)

    def _whole(self, field: str, default: int | None, *, least: int) -> int:
        value = self.raw.get(field)
        if value is None and default is not None:
            return default
        if value is None:
            raise ModelError(f"{self.source}: {field} is missing; give an unmodified Hugging Face config.json")
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MOST:
            allowed = f"{least} to {_MOST}"
            raise ModelError(
                f"{self.source}: {field} is {value!r}; it must be a whole number of {allowed}, as published"
            )
        return value

    def flag(self, field: str, *, default: bool = False) -> bool:
        value = self.raw.get(field)
        return default if value is None else bool(value)

    def dtype(self) -> str:
        # transformers 5 writes `dtype`, earlier ones `torch_dtype`. Engines load in 16 bits when neither is there.
        name = str(self.raw.get("dtype") or self.raw.get("torch_dtype") or "bfloat16").removeprefix("torch.")
        if name not in BY_TORCH_NAME:
            raise ModelError(f"{self.source}: dtype is {name!r}; it must be one of {', '.join(BY_TORCH_NAME)}")
        return BY_TORCH_NAME[name]

    def window(self, layers: int, *, needs_switch: bool) -> int | None:
        """None too where only some layers have one: the longest view is taken for all."""
        if not self.raw.get("sliding_window") or (needs_switch and not self.flag("use_sliding_window")):
            return None
        kinds = self.raw.get("layer_types")
        if isinstance(kinds, list):
            windowed = all(kind == "sliding_attention" for kind in kinds)
        else:
            # Qwen's layers below max_window_layers see everything; transformers assumes 28 where nothing is said.
            windowed = not needs_switch or self.amount("max_window_layers", min(28, layers)) == 0
        return self.count("sliding_window") if windowed else None
