# SPDX-License-Identifier: Apache-2.0
"""Number formats of weights, activations and caches, under one set of names."""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """How a linear layer keeps its weights and multiplies."""

    weight_bytes: float  # per weight, scales aside
    activation_bytes: float  # per input of the multiplication
    matrix: str  # format that the matrix units multiply in: fp32, bf16, fp8 or int8


FORMATS = {
    "fp32": Format(4.0, 4.0, "fp32"),
    "bf16": Format(2.0, 2.0, "bf16"),
    "fp16": Format(2.0, 2.0, "bf16"),
    "fp8": Format(1.0, 1.0, "fp8"),
    "int8": Format(1.0, 1.0, "int8"),  # W8A8
    "int8_wo": Format(1.0, 2.0, "bf16"),  # weights only; widened to 16 bits to be multiplied
    "int4_wo": Format(0.5, 2.0, "bf16"),
}
# Formats that activations and caches can have, and what config.json calls them.
ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}
BY_TORCH_NAME = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
