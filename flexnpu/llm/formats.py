# SPDX-License-Identifier: Apache-2.0
"""Number formats of weights, activations and caches.

The names are those that tables of measured operators have (flexnpu/forecast/tables/dtypes.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from flexnpu.llm.errors import ModelError


class Format(NamedTuple):
    """How a linear layer keeps its weights and multiplies. Bytes per number, scales aside."""

    weight_bytes: float
    input_bytes: float
    matrix: str  # format that matrix units multiply in: fp32, bf16, fp8 or int8


FORMATS: Mapping[str, Format] = {
    "fp32": Format(4.0, 4.0, "fp32"),
    "bf16": Format(2.0, 2.0, "bf16"),
    "fp16": Format(2.0, 2.0, "bf16"),
    "fp8": Format(1.0, 1.0, "fp8"),
    "int8": Format(1.0, 1.0, "int8"),  # W8A8
    "int8_wo": Format(1.0, 2.0, "bf16"),  # weights only: widened to 16 bits to be multiplied
    "int4": Format(0.5, 2.0, "bf16"),  # weights only
}
# Bytes of an element of activations or a cache.
ELEMENT_BYTES: Mapping[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}
BY_TORCH_NAME: Mapping[str, str] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def known_format(name: str | None, known: Mapping[str, object], what: str) -> str | None:
    """The name as it is, None too. ModelError: it is not among `known`."""
    if name is not None and name not in known:
        raise ModelError(f"{what} {name!r} is not known; give one of {', '.join(known)}")
    return name
