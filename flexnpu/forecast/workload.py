# SPDX-License-Identifier: Apache-2.0
"""One iteration as operators: operations, bytes and launches, whatever cores it will run on.

Equations of DuetServe (arXiv 2511.04791): token-level operators by n, d_in, d_out; attention by q new and c cached
tokens, summed over requests. Prefill and decode attention are two operators, because engines launch two kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexnpu.forecast.batch import Batch, Floats
from flexnpu.forecast.profile import Profile
from flexnpu.llm import ModelShape

OPERATORS = ("qkv", "prefill_attention", "decode_attention", "o", "gate_up", "down", "elementwise", "lm_head")
# Cube rate by bytes per element, relative to fp16.
CUBE_RATE = {1: 2.0, 2: 1.0, 4: 0.25}


@dataclass(frozen=True, eq=False, slots=True)
class Workload:
    """Per operator, over all layers. flops are in fp16 equivalents; fixed is seconds that no core count shortens."""

    flops: Floats
    bytes: Floats
    fixed: Floats

    @classmethod
    def of(cls, model: ModelShape, batch: Batch, profile: Profile) -> Workload:
        if not batch.new.size:
            nothing = np.zeros(len(OPERATORS))
            return cls(nothing, nothing, nothing)
        rows = _rows(model, batch, profile)
        table = np.array([rows[name] for name in OPERATORS])
        return cls(table[:, 0] / CUBE_RATE[model.dtype_bytes], table[:, 1] * model.dtype_bytes, table[:, 2])


Row = tuple[float, float, float]  # flops, elements moved, fixed seconds


def _rows(model: ModelShape, batch: Batch, profile: Profile) -> dict[str, Row]:
    tokens, hidden, inner = batch.tokens, model.hidden, model.intermediate
    decoding = batch.new == 1.0
    return {
        "qkv": _linear(model.layers, tokens, (hidden, model.q_width + 2 * model.kv_width), profile),
        "prefill_attention": _attention(model, batch, ~decoding, profile),
        "decode_attention": _attention(model, batch, decoding, profile),
        "o": _linear(model.layers, tokens, (model.q_width, hidden), profile),
        "gate_up": _linear(model.layers, tokens, (hidden, 2 * inner), profile),
        "down": _linear(model.layers, tokens, (inner, hidden), profile),
        "elementwise": _elementwise(model, tokens, profile),
        # Logits are wanted for the last token of each request alone.
        "lm_head": _linear(1, batch.sequences, (hidden, model.vocab), profile),
    }


def _linear(times: int, tokens: float, shape: tuple[int, int], profile: Profile) -> Row:
    wide, out = shape
    elements = tokens * wide + wide * out + tokens * out
    return times * 2.0 * tokens * wide * out, times * elements, times * profile.matmul_seconds


def _attention(model: ModelShape, batch: Batch, chosen: npt.NDArray[np.bool_], profile: Profile) -> Row:
    if not chosen.any():
        return 0.0, 0.0, 0.0
    new, copies = batch.new[chosen], batch.copies[chosen]
    seen = new + batch.cached[chosen]
    if model.window is not None:
        seen = np.minimum(seen, model.window)
    pairs = float((new * seen) @ copies)
    flops = model.heads * (4.0 * model.head_dim + 2.0) * pairs
    elements = 2.0 * model.q_width * float(new @ copies) + 2.0 * model.kv_width * float(seen @ copies)
    return model.layers * flops, model.layers * elements, model.layers * profile.attention_seconds


def _elementwise(model: ModelShape, tokens: float, profile: Profile) -> Row:
    # Per layer: two RMSNorms (read, write), two residual additions (two reads, a write), rotary embedding over q and k,
    # SiLU times up (two reads, a write), the new keys and values into the cache; Qwen3 normalises q and k too.
    rotated = 2 * (model.q_width + model.kv_width)
    width = 10 * model.hidden + rotated * (1 + model.head_norms) + 3 * model.intermediate + 4 * model.kv_width
    launches = 7 + 2 * model.head_norms
    once = 4 * model.hidden  # the embedding and the last norm
    return (
        0.0,
        tokens * (model.layers * width + once),
        (model.layers * launches + 2) * profile.vector_seconds,
    )
