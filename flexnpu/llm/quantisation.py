# SPDX-License-Identifier: Apache-2.0
"""config.json's quantization_config: which format linear layers and the cache are in.

Known: fp8 (DeepSeek's blocks, per tensor, per channel), compressed-tensors, AWQ, GPTQ, ModelOpt's FP8, and W8A8 as
Ascend's tools write it. Others are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flexnpu.llm.errors import ModelError

Config = Mapping[str, object]

_KNOWN = "fp8, fbgemm_fp8, compressed-tensors, awq, gptq, modelopt (FP8) and ascend"
# What methods call the list of modules that they leave alone.
_LEFT_OUT = ("ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules")
_ATTENTION = "self_attn.o_proj"  # stands for all of its matrices


class Quantisation(NamedTuple):
    """Formats in place of the model's own; None where there is none."""

    weights: str | None = None
    scale_bytes: float = 0.0  # per weight
    kv: str | None = None
    attention: bool = True  # its matrices are quantised as well
    lm_head: bool = False  # so is the output head


def read_quantisation(raw: Config, source: str, layers: int, mlp: str) -> Quantisation:
    """What quantization_config says, or MindIE's `quantize`. mlp: name of a matrix of a layer's MLP."""
    config = raw.get("quantization_config")
    if not config and not raw.get("quantize"):
        return Quantisation()
    if config is not None and not isinstance(config, Mapping):
        raise ModelError(f"{source}: quantization_config is {config!r}; it must be an object")
    found, targets = _method(raw, dict(config or {}), source)
    left_out = [name for field in _LEFT_OUT for name in _names(config or {}, field, source)]

    def quantised(module: str) -> bool:
        """Whether most layers have it quantised."""
        names = [f"model.layers.{layer}.{module}" for layer in range(layers)]
        hits = [_matches(targets, name, source) and not _matches(left_out, name, source) for name in names]
        return 2 * sum(hits) > layers

    if not quantised(mlp):
        raise ModelError(
            f"{source}: quantization_config leaves the MLPs of most layers as they are, which cannot be forecast; "
            "take it out, or give --weight-dtype"
        )
    head = found.lm_head and not _matches(left_out, "lm_head", source)
    return found._replace(attention=quantised(_ATTENTION), lm_head=head)


def _method(raw: Config, config: Config, source: str) -> tuple[Quantisation, Sequence[str]]:
    """The formats, and the modules that have them."""
    method = str(config.get("quant_method") or "").lower().replace("_", "-")
    everything = ("Linear",)
    if method in {"fp8", "fbgemm-fp8"}:
        return Quantisation("fp8", _block_scales(config), _kv_format(config)), everything
    if method in {"awq", "gptq", "gptq-marlin", "awq-marlin"}:
        return _weights_only(config, source, method), everything
    if method == "compressed-tensors":
        return _compressed_tensors(config, source)
    if method == "modelopt" and str(config.get("quant_algo")).upper() == "FP8":
        return Quantisation("fp8", kv=_kv_format(config)), everything
    if method == "ascend" or (not method and raw.get("quantize")):
        return _ascend({**config, **raw}, source), everything
    shown = method or ", ".join(config) or "nothing"
    raise ModelError(f"{source}: quant_method {shown!r} cannot be forecast; known are {_KNOWN}")


def _names(config: Config, field: str, source: str) -> list[str]:
    value = config.get(field)
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ModelError(f"{source}: quantization_config's {field} is {value!r}; it must be a list of names")
    return list(value)


def _matches(patterns: Sequence[str], name: str, source: str) -> bool:
    """As the methods mean it: `re:` is an expression, Linear is every matrix, a plain word a part of the name."""
    for pattern in patterns:
        try:
            if pattern.startswith("re:"):
                hit = re.match(pattern[3:], name) is not None
            else:
                hit = pattern == "Linear" or f".{pattern.strip('.*')}." in f".{name}."
        except re.error as error:
            raise ModelError(f"{source}: quantization_config names {pattern!r}, which is no expression") from error
        if hit:
            return True
    return False


def _block_scales(config: Config) -> float:
    """DeepSeek-V3 keeps one 32-bit scale per block of 128 x 128 weights; a scale per tensor is nothing."""
    block = config.get("weight_block_size")
    if isinstance(block, list) and len(block) == 2 and all(isinstance(side, int) and side > 0 for side in block):
        return 4.0 / float(block[0] * block[1])
    return 0.0


def _weights_only(config: Config, source: str, method: str) -> Quantisation:
    bits, group = config.get("bits", config.get("w_bit")), config.get("group_size", config.get("q_group_size", 128))
    if not isinstance(bits, int) or bits not in {4, 8}:
        raise ModelError(f"{source}: {method} with bits {bits!r}; it must be 4 or 8")
    # A 16-bit scale per group, and a zero point as wide as a weight.
    scales = (2.0 + bits / 8.0) / group if isinstance(group, int) and group > 0 else 0.0
    name = "int4" if bits == 4 else "int8_wo"
    return Quantisation(name, scales, lm_head=bool(config.get("lm_head")))


def _compressed_tensors(config: Config, source: str) -> tuple[Quantisation, list[str]]:
    groups = config.get("config_groups")
    listed = list(groups.values()) if isinstance(groups, Mapping) else []
    if not listed or not all(isinstance(one, Mapping) and isinstance(one.get("weights"), Mapping) for one in listed):
        raise ModelError(f"{source}: compressed-tensors without config_groups and their weights cannot be forecast")
    kinds = {_group_format(one, source) for one in listed}
    if len(kinds) > 1:
        shown = ", ".join(sorted(name for name, _ in kinds))
        raise ModelError(f"{source}: compressed-tensors with several formats ({shown}) cannot be forecast; give one")
    (name, scales) = kinds.pop()
    targets = [target for one in listed for target in _names(one, "targets", source)] or ["Linear"]
    return Quantisation(name, scales, _kv_format(config), lm_head=True), targets


def _group_format(group: Config, source: str) -> tuple[str, float]:
    weights, inputs = group["weights"], group.get("input_activations")
    assert isinstance(weights, Mapping)
    bits, kind, size = weights.get("num_bits"), str(weights.get("type") or "int"), weights.get("group_size")
    formats = {
        (8, "float", True): "fp8",
        (8, "int", True): "int8",
        (8, "int", False): "int8_wo",
        (8, "float", False): "int8_wo",
        (4, "int", False): "int4",
    }
    name = formats.get((bits, kind, bool(inputs))) if isinstance(bits, int) else None
    if name is None:
        raise ModelError(
            f"{source}: compressed-tensors with {bits}-bit {kind} weights and "
            f"{'quantised' if inputs else '16-bit'} activations cannot be forecast; known are W8A8, W8A16 and W4A16"
        )
    return name, 2.0 / size if isinstance(size, int) and size > 0 else 0.0


def _ascend(raw: Config, source: str) -> Quantisation:
    name = str(raw.get("quantize") or "w8a8").lower()
    formats = {"w8a8": "int8", "w8a8_dynamic": "int8", "w8a8s": "int8", "w8a16": "int8_wo", "w4a16": "int4"}
    if name not in formats:
        raise ModelError(f"{source}: quantize is {name!r}; it must be one of {', '.join(formats)}")
    return Quantisation(formats[name], kv="int8" if raw.get("kv_quant_type") == "C8" else None)


def _kv_format(config: Config) -> str | None:
    """compressed-tensors and ModelOpt describe the cache's numbers, or name them."""
    scheme = config.get("kv_cache_scheme")
    if isinstance(scheme, Mapping):
        return "fp8" if scheme.get("type") == "float" else "int8"
    named = scheme if isinstance(scheme, str) else config.get("kv_cache_quant_algo")
    return {"FP8": "fp8", "INT8": "int8"}.get(str(named).upper())
