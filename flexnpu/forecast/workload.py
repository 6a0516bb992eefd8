# SPDX-License-Identifier: Apache-2.0
"""A model's iteration as operators: what each costs for so many tokens, whatever the batch they come from.

Equations of DuetServe (arXiv 2511.04791): token-level operators by n, d_in, d_out; attention by sums over requests.
"""

from __future__ import annotations

from typing import NamedTuple

from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import Amount, Cores, Cost, OperatorModel
from flexnpu.llm import ModelShape

DTYPES = {4: "fp32", 2: "bf16", 1: "fp8"}


class Linear(NamedTuple):
    """A weight matrix that all tokens pass, `times` times per iteration."""

    name: str
    times: int
    k: int
    n: int
    dtype: str
    kind: str = "gemm"

    def cost(self, operators: OperatorModel, tokens: Amount, cores: Cores = None) -> Cost:
        return operators.gemm(tokens, self.n, self.k, self.dtype, cores, self.name).times(self.times)


class Elementwise(NamedTuple):
    """Norms, residuals, activations: bytes and launches of the whole iteration."""

    name: str
    bytes_per_token: float
    launches: int
    layers: int = 0  # that they belong to
    kind: str = "elementwise"

    def cost(self, operators: OperatorModel, tokens: Amount, cores: Cores = None) -> Cost:
        return operators.elementwise(tokens * self.bytes_per_token, self.launches, cores, tokens, self.layers)


Operator = Linear | Elementwise


class Attention(NamedTuple):
    """Attention of all layers."""

    times: int
    heads: int
    kv_heads: int
    head_dim: int

    def context(self, operators: OperatorModel, load: Load, cores: Cores = None) -> Cost:
        return operators.context_attention(
            load.prefill_sequences,
            load.prefill_pairs,
            load.prefill_tokens,
            load.prefill_seen,
            self.heads,
            self.kv_heads,
            self.head_dim,
            cores,
        ).times(self.times)

    def generation(self, operators: OperatorModel, sequences: Amount, seen: Amount, cores: Cores = None) -> Cost:
        return operators.generation_attention(sequences, seen, self.heads, self.kv_heads, self.head_dim, cores).times(
            self.times
        )


class Workload(NamedTuple):
    """What an iteration of a model runs."""

    by_tokens: tuple[Operator, ...]
    by_logits: tuple[Operator, ...]
    attention: Attention

    @classmethod
    def of(cls, model: ModelShape) -> Workload:
        dtype, layers, hidden = DTYPES[model.dtype_bytes], model.layers, model.hidden
        return cls(
            (
                Linear("qkv", layers, hidden, model.q_width + 2 * model.kv_width, dtype),
                Linear("o", layers, model.q_width, hidden, dtype),
                Linear("gate_up", layers, hidden, 2 * model.intermediate, dtype),
                Linear("down", layers, model.intermediate, hidden, dtype),
                _elementwise(model),
            ),
            # Logits are wanted for the last token of each request alone.
            (Linear("lm_head", 1, hidden, model.vocab, dtype),),
            Attention(layers, model.heads, model.kv_heads, model.head_dim),
        )


def _elementwise(model: ModelShape) -> Elementwise:
    # Per layer: two RMSNorms (read, write), two residual additions (two reads, a write), rotary embedding over q and k,
    # SiLU times up (two reads, a write), the new keys and values into the cache; Qwen3 normalises q and k too.
    rotated = 2 * (model.q_width + model.kv_width)
    width = 10 * model.hidden + rotated * (1 + model.head_norms) + 3 * model.intermediate + 4 * model.kv_width
    launches = 7 + 2 * model.head_norms
    once = 4 * model.hidden  # the embedding and the last norm
    return Elementwise(
        "elementwise", (model.layers * width + once) * model.dtype_bytes, model.layers * launches + 2, model.layers
    )
