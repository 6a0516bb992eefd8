# SPDX-License-Identifier: Apache-2.0
"""ModelShape: the sizes of a decoder-only transformer and what follows from them.

Everything is of the whole model; `flexnpu.llm.parallel` cuts it into devices. Nothing here knows about time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flexnpu.llm.errors import ModelError
from flexnpu.llm.formats import ELEMENT_BYTES, FORMATS

__all__ = ["Experts", "Latent", "ModelError", "ModelShape"]


class Latent(NamedTuple):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one compressed vector is cached per token."""

    q_rank: int | None  # queries are compressed too, unless None
    kv_rank: int
    nope: int  # a head's query and key without positions
    rope: int  # and with; the key's is shared by all heads
    value: int

    @property
    def cached(self) -> int:
        """Elements per token and layer in the cache."""
        return self.kv_rank + self.rope


class Experts(NamedTuple):
    """A mixture of experts in place of the MLP of some layers."""

    layers: int  # that have it
    kept: int  # here: all of them, or a device's part
    routed: int  # that the router chooses from
    chosen: int  # per token
    intermediate: int  # of one routed expert
    shared: int  # intermediate size of all shared experts together, 0 without any
    shared_gate: bool
    score_bias: bool
    groups: int  # a token's experts come from at most `chosen_groups` of so many groups
    chosen_groups: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder with a gated MLP, grouped-query or latent attention, dense or with experts.

    A device's part of a model is one too (Parallel.share).
    """

    architecture: str
    layers: int
    hidden: int
    intermediate: int  # of dense layers
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied_embeddings: bool
    qkv_bias: bool
    output_bias: bool
    head_norms: bool
    mlp_bias: bool
    window: int | None  # attention looks back at most so many tokens
    dtype: str = "bf16"  # of activations, embeddings and whatever is not quantised
    weights: str = "bf16"  # of linear layers; a key of FORMATS
    attention_weights: str = "bf16"  # the same or, where attention is not quantised, dtype
    scale_bytes: float = 0.0  # of quantisation, per weight
    lm_head_weights: str = "bf16"
    kv_dtype: str = "bf16"
    latent: Latent | None = None
    experts: Experts | None = None

    @classmethod
    def from_config(
        cls, config: Mapping[str, object] | str | Path, *, weights: str | None = None, kv: str | None = None
    ) -> ModelShape:
        """The shape in a config.json, given as its path, its folder or its content.

        weights and kv are formats to use in place of config.json's: what an engine quantises as it loads.
        """
        from flexnpu.llm.config import read_shape  # noqa: PLC0415 - it makes what is defined here

        return read_shape(config, weights=weights, kv=kv)

    @property
    def dtype_bytes(self) -> int:
        """Of an activation."""
        return ELEMENT_BYTES[self.dtype]

    @property
    def q_width(self) -> int:
        return self.heads * (self.latent.nope + self.latent.rope if self.latent else self.head_dim)

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def output_width(self) -> int:
        """Of what attention hands to its output projection."""
        return self.heads * (self.latent.value if self.latent else self.head_dim)

    @property
    def dense_layers(self) -> int:
        return self.layers - (self.experts.layers if self.experts else 0)

    @property
    def attention_matrices(self) -> int:
        """Weights of one layer's attention that multiply tokens."""
        output = self.output_width * self.hidden
        if self.latent is None:
            return self.hidden * (self.q_width + 2 * self.kv_width) + output
        one = self.latent
        query = self.hidden * self.q_width
        if one.q_rank:
            query = one.q_rank * (self.hidden + self.q_width)
        return query + self.hidden * one.cached + one.kv_rank * self.heads * (one.nope + one.value) + output

    @property
    def mlp_parameters(self) -> int:
        """Weights of all layers' MLPs and experts; routers are not among them."""
        dense = self.dense_layers * 3 * self.hidden * self.intermediate
        if not self.experts:
            return dense
        one = self.experts
        return dense + one.layers * 3 * self.hidden * (one.kept * one.intermediate + one.shared)

    @property
    def linear_parameters(self) -> int:
        """Weights of all layers that multiply tokens and can be quantised."""
        return self.layers * self.attention_matrices + self.mlp_parameters

    @property
    def active_linear_parameters(self) -> int:
        """Those that one token meets, routers included."""
        if not self.experts:
            return self.linear_parameters
        one = self.experts
        met = one.chosen * one.kept / one.routed
        idle = one.layers * 3 * self.hidden * round((one.kept - met) * one.intermediate)
        return self.linear_parameters - idle + self.router_parameters

    @property
    def router_parameters(self) -> int:
        if not self.experts:
            return 0
        return self.experts.layers * self.hidden * (self.experts.routed + self.experts.shared_gate)

    @property
    def embedding_parameters(self) -> int:
        """Of the embedding, and of the output head where it is another matrix."""
        return self.vocab * self.hidden * (1 if self.tied_embeddings else 2)

    @property
    def small_parameters(self) -> int:
        """Norms and biases."""
        norms, biases = 2 * self.hidden, 0
        if self.latent:
            norms += (self.latent.q_rank or 0) + self.latent.kv_rank
        else:
            norms += 2 * self.head_dim if self.head_norms else 0
            biases += (self.q_width + 2 * self.kv_width) * self.qkv_bias + self.hidden * self.output_bias
        biases += (2 * self.intermediate + self.hidden) * self.mlp_bias
        scores = self.experts.layers * self.experts.routed if self.experts and self.experts.score_bias else 0
        return self.layers * (norms + biases) + self.hidden + scores

    @property
    def parameters(self) -> int:
        """All, as published counts have them: tied embeddings once, no layers that predict further tokens."""
        return self.linear_parameters + self.router_parameters + self.embedding_parameters + self.small_parameters

    @property
    def active_parameters(self) -> int:
        """Parameters that one token meets, embeddings included, as publishers of mixtures count them."""
        return self.active_linear_parameters + self.embedding_parameters + self.small_parameters

    @property
    def weight_bytes(self) -> int:
        """Of all weights in memory, quantisation's scales included."""
        head = 0 if self.tied_embeddings else self.vocab * self.hidden
        rest = self.router_parameters + self.embedding_parameters - head + self.small_parameters
        return round(
            self.mlp_parameters * self._bytes_of(self.weights)
            + self.layers * self.attention_matrices * self._bytes_of(self.attention_weights)
            + head * self._bytes_of(self.lm_head_weights)
            + rest * self.dtype_bytes
        )

    def _bytes_of(self, weights: str) -> float:
        """Per weight in that format; only what is quantised has scales."""
        return FORMATS[weights].weight_bytes + (self.scale_bytes if weights != self.dtype else 0.0)

    @property
    def kv_elements_per_token(self) -> int:
        """Cached numbers per token and layer."""
        return self.latent.cached if self.latent else 2 * self.kv_width

    @property
    def kv_bytes_per_token(self) -> int:
        return self.layers * self.kv_elements_per_token * ELEMENT_BYTES[self.kv_dtype]

    def flops(self, new: int, cached: int = 0) -> int:
        """Operations to run `new` tokens of one request after `cached` ones; logits for the last token only.

        Attention is causal. Latent attention is counted as prompts run it: keys and values expanded.
        """
        pairs = new * cached + new * (new + 1) // 2
        if self.window is not None:
            outside = new + cached - self.window
            beyond = min(max(outside, 0), new)
            pairs -= beyond * outside - beyond * (beyond - 1) // 2
        linear = 2 * new * self.active_linear_parameters + 2 * self.hidden * self.vocab
        widths = self.q_width + self.output_width
        return linear + self.layers * pairs * (2 * widths + 2 * self.heads)
