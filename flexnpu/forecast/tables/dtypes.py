# SPDX-License-Identifier: Apache-2.0
"""Names of number formats as tables write them, and what they are here."""

from __future__ import annotations

from collections.abc import Mapping

# Bytes of an element, and matrix rate relative to 16 bits. fp8_block's scale per 128 elements is not counted.
ELEMENT_BYTES: Mapping[str, float] = {
    "fp32": 4.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "int8": 1.0,
    "fp8": 1.0,
    "fp8_block": 1.0,
    "int4": 0.5,
    "fp4": 0.5,
}
MATRIX_RATE: Mapping[str, float] = {
    "fp32": 0.25,
    "bf16": 1.0,
    "fp16": 1.0,
    "int8": 2.0,
    "fp8": 2.0,
    "fp8_block": 2.0,
    "int4": 1.0,  # weights alone: the product is done in 16 bits
    "fp4": 4.0,
}
_ALIASES = {
    "": "bf16",
    "auto": "bf16",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "f16": "fp16",
    "float32": "fp32",
    "float": "fp32",
    "f32": "fp32",
    "w8a8": "int8",
    "int8_wo": "int8",
    "sq": "int8",
    "fp8_e4m3": "fp8",
    "float8_e4m3fn": "fp8",
    "fp8_ootb": "fp8",
    "fp8_static": "fp8",
    "nvfp4": "fp4",
    "int4_wo": "int4",
    "w4a16_mxfp4": "int4",
}


def known_dtype(name: str) -> str:
    """The format's name here; the name itself where it is not known."""
    word = name.strip().lower().removeprefix("dt_").removeprefix("torch.")
    return _ALIASES.get(word, word)
