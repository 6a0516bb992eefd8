# SPDX-License-Identifier: Apache-2.0
"""A model's iteration on one device as operators: what each costs for so many tokens, whatever batch they come from.

Equations of DuetServe (arXiv 2511.04791): token-level operators by n, d_in, d_out; attention by sums over requests.
Experts, latent attention and collectives are ours, as docs/forecast.md says.
"""

from __future__ import annotations

from typing import NamedTuple

from flexnpu.forecast.collectives import Route, all_gather, all_reduce, exchange
from flexnpu.forecast.experts import Grouped, expert_layers
from flexnpu.forecast.lattice import Lattice
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import Amount, Cache, Cores, Cost, OperatorModel
from flexnpu.forecast.profile import Profile
from flexnpu.hardware import Soc
from flexnpu.llm import ELEMENT_BYTES, FORMATS, ModelShape, Parallel


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


class PerHead(NamedTuple):
    """A matrix of its own for every head, all in one launch."""

    name: str
    times: int
    heads: int
    k: int
    n: int
    dtype: str
    kind: str = "grouped_gemm"

    def cost(self, operators: OperatorModel, tokens: Amount, cores: Cores = None) -> Cost:
        rows = tokens * float(self.heads)
        return operators.grouped_gemm(rows, float(self.heads), self.n, self.k, self.dtype, cores).times(self.times)


class Elementwise(NamedTuple):
    """Norms, residuals, activations: bytes and launches of the whole iteration."""

    name: str
    bytes_per_token: float
    launches: int
    layers: int = 0  # that they belong to
    kind: str = "elementwise"

    def cost(self, operators: OperatorModel, tokens: Amount, cores: Cores = None) -> Cost:
        return operators.elementwise(tokens * self.bytes_per_token, self.launches, cores, tokens, self.layers)


class Collective(NamedTuple):
    """What devices exchange, `times` times per iteration. Links do not care for cores."""

    name: str
    times: int
    route: Route
    bytes_per_token: float
    kind: str = "collective"

    def cost(self, operators: OperatorModel, tokens: Amount, cores: Cores = None) -> Cost:
        links = tokens * (self.bytes_per_token * self.route.per_byte)
        return Cost(tokens * 0.0, tokens * 0.0, links + self.route.start, tokens * 0.0, links).times(self.times)


Sums = tuple[Amount, Amount, Amount, Amount]
Operator = Linear | PerHead | Grouped | Elementwise | Collective


class Attention(NamedTuple):
    """One layer's attention, `times` times per iteration.

    Latent attention runs prompts with expanded keys and decode on the compressed ones.
    """

    times: int
    heads: int
    kv_heads: int
    head_dim: int  # the mean of a query's and a value's
    cache: Cache | None = None
    latent: Cache | None = None  # one head of keys that all queries share; None: they have as in prompts
    latent_dim: int = 0

    def measured(self, operators: OperatorModel) -> tuple[Lattice | None, Lattice | None]:
        """Tables of running requests and of prompts; None where there is none for this model."""
        cached, one = self.cache, (self.heads, self.kv_heads, self.head_dim)
        if self.latent is not None or (cached is not None and not cached.measured):
            return None, None
        format_ = "bf16" if cached is None else cached.dtype
        return operators.lattice("generation", *one, format_), operators.lattice("context", *one)

    def context(self, operators: OperatorModel, load: Load, cores: Cores = None) -> Cost:
        sums = (load.prefill_sequences, load.prefill_pairs, load.prefill_tokens, load.prefill_seen)
        return self.context_sums(operators, sums, cores)

    def context_sums(self, operators: OperatorModel, sums: Sums, cores: Cores = None) -> Cost:
        """Of prompts by their sequences, pairs, tokens and keys."""
        return operators.context_attention(*sums, self.heads, self.kv_heads, self.head_dim, cores, self.cache)

    @property
    def decoding(self) -> tuple[int, int, int, float]:
        """Heads, heads of keys, a head's size, and bytes of a key and its value, as running requests have them."""
        if self.latent is not None:
            return self.heads, 1, self.latent_dim, self.latent.bytes_per_token
        return self.heads, self.kv_heads, self.head_dim, self.cached_bytes

    @property
    def cached_bytes(self) -> float:
        """Bytes of a cached key and its value, as prompts have them."""
        return 4.0 * self.kv_heads * self.head_dim if self.cache is None else self.cache.bytes_per_token

    def generation(self, operators: OperatorModel, sequences: Amount, seen: Amount, cores: Cores = None) -> Cost:
        if self.latent is not None:
            return operators.generation_attention(sequences, seen, self.heads, 1, self.latent_dim, cores, self.latent)
        return operators.generation_attention(
            sequences, seen, self.heads, self.kv_heads, self.head_dim, cores, self.cache
        )


class Workload(NamedTuple):
    """What an iteration of a model runs, by what its operators' rows are."""

    by_tokens: tuple[Operator, ...]
    by_logits: tuple[Operator, ...]
    attention: Attention
    by_readers: tuple[Operator, ...] = ()  # running requests, and prompts beside a prompt
    by_seen: tuple[Operator, ...] = ()  # keys of prompts

    @classmethod
    def of(cls, model: ModelShape, soc: Soc, parallel: Parallel, profile: Profile) -> Workload:
        """The part of `model` (all of it) that one of the devices runs."""
        part, efficiency = parallel.share(model), profile.link_efficiency
        hidden = part.hidden
        reduce = all_reduce(soc, parallel.tensor, efficiency)
        before, decodes, seen = _projections(part)
        layers: list[Operator] = [*before, Linear("o", part.layers, part.output_width, hidden, _attention_dtype(part))]
        # Each half of a layer ends in a sum over the devices that share its matrices; so does the embedding.
        sums = 2 * part.layers + 1
        if part.dense_layers:
            weights, inner = weights_of(part), part.intermediate
            layers.append(Linear("gate_up", part.dense_layers, hidden, 2 * inner, weights))
            layers.append(Linear("down", part.dense_layers, inner, hidden, weights))
        if part.experts:
            layers += [Linear(*one) for one in _shared(part)]
            layers += expert_layers(part, weights_of(part), parallel)
        layers.append(_elementwise(part, parallel))
        if part.experts and parallel.groups > 1:
            layers += _exchanges(part, soc, parallel, profile)
            # The way back from the experts is what would be summed: what is left is a scatter and a gather.
            sums -= part.experts.layers
        logits: list[Operator] = [Linear("lm_head", 1, hidden, part.vocab, part.lm_head_weights)]
        if parallel.tensor > 1:
            layers.append(Collective("all_reduce", sums, reduce, float(hidden * part.dtype_bytes)))
            gather = all_gather(soc, parallel.tensor, efficiency)
            logits.append(Collective("all_gather", 1, gather, float(model.vocab * part.dtype_bytes)))
        return cls(tuple(layers), tuple(logits), _attention(part), decodes, seen)


def weights_of(model: ModelShape) -> str:
    """Format of linear layers as operators know it."""
    # Scales of 128 x 128 blocks make kernels of their own.
    return "fp8_block" if model.weights == "fp8" and model.scale_bytes else model.weights


def _attention_dtype(model: ModelShape) -> str:
    return weights_of(model) if model.attention_weights == model.weights else model.attention_weights


def _attention(model: ModelShape) -> Attention:
    cache = Cache(model.kv_dtype, float(model.kv_elements_per_token * ELEMENT_BYTES[model.kv_dtype]))
    one = model.latent
    if one is None:
        plain = model.kv_dtype in {"bf16", "fp16"}
        return Attention(model.layers, model.heads, model.kv_heads, model.head_dim, None if plain else cache)
    # Tables of plain attention say nothing of either form.
    expanded = Cache("bf16", 4.0 * model.heads * _mean(one.nope + one.rope, one.value), measured=False)
    return Attention(
        model.layers,
        model.heads,
        model.heads,
        _mean(one.nope + one.rope, one.value),
        expanded,
        cache._replace(measured=False),
        _mean(one.kv_rank + one.rope, one.kv_rank),
    )


def _mean(query: int, value: int) -> int:
    return (query + value) // 2


def _projections(model: ModelShape) -> tuple[list[Operator], tuple[Operator, ...], tuple[Operator, ...]]:
    """From hidden states to queries, keys and values: of all tokens, of running requests, of prompts' keys."""
    dtype, times, hidden, one = _attention_dtype(model), model.layers, model.hidden, model.latent
    if one is None:
        return [Linear("qkv", times, hidden, model.q_width + 2 * model.kv_width, dtype)], (), ()
    if one.q_rank is None:
        down: list[Operator] = [Linear("qkv_a", times, hidden, model.q_width + one.cached, dtype)]
    else:
        down = [
            Linear("qkv_a", times, hidden, one.q_rank + one.cached, dtype),
            Linear("q_b", times, one.q_rank, model.q_width, dtype),
        ]
    # Decode moves the up-projections of keys and values to queries and outputs (arXiv 2405.04434, section 2.1.2), head
    # by head, in 16 bits; prompts expand every key that they see.
    absorbed = (
        PerHead("q_absorb", times, model.heads, one.nope, one.kv_rank, model.dtype),
        PerHead("v_absorb", times, model.heads, one.kv_rank, one.value, model.dtype),
    )
    return down, absorbed, (Linear("kv_b", times, one.kv_rank, model.heads * (one.nope + one.value), dtype),)


def _shared(model: ModelShape) -> list[tuple[str, int, int, int, str]]:
    """Router and shared experts, which every token meets."""
    assert model.experts is not None
    one, hidden = model.experts, model.hidden
    found = [("router", one.layers, hidden, one.routed + one.shared_gate, model.dtype)]
    if one.shared:
        found.append(("shared_gate_up", one.layers, hidden, 2 * one.shared, weights_of(model)))
        found.append(("shared_down", one.layers, one.shared, hidden, weights_of(model)))
    return found


def _exchanges(model: ModelShape, soc: Soc, parallel: Parallel, profile: Profile) -> list[Operator]:
    """Tokens to the devices of their experts and back; devices that share matrices send a part of them each."""
    assert model.experts is not None
    times = model.experts.layers
    route = exchange(soc, parallel.expert, model.experts, profile.link_efficiency, profile.exchange_seconds)
    there = model.hidden * FORMATS[model.weights].input_bytes / parallel.tensor
    back = model.hidden * model.dtype_bytes / parallel.tensor
    return [Collective("dispatch", times, route, there), Collective("combine", times, route, float(back))]


def _elementwise(model: ModelShape, parallel: Parallel) -> Elementwise:
    # Per layer: two RMSNorms (read, write), two residual additions (two reads, a write), rotary embedding over q and k,
    # SiLU times up (two reads, a write), the new keys and values into the cache; Qwen3 normalises q and k too.
    hidden, one = model.hidden, model.latent
    width, launches = 10 * hidden, 7
    if one is None:
        rotated = 2 * (model.q_width + model.kv_width)
        width += rotated * (1 + model.head_norms) + 4 * model.kv_width
        launches += 2 * model.head_norms
    else:
        # Norms of both compressed vectors, positions of queries and of the key that all heads share.
        width += 2 * ((one.q_rank or 0) + one.kv_rank) + 2 * (model.heads + 1) * one.rope + 2 * one.cached
        launches += 1 + (one.q_rank is not None)
    total = float(model.layers * width + model.dense_layers * 3 * model.intermediate)
    count = model.layers * launches
    if model.experts:
        # Scores and the choice; tokens sorted by expert and back, once per chosen expert; SiLU times up of those.
        mixture = model.experts
        here = mixture.chosen * mixture.kept / mixture.routed * parallel.groups
        total += mixture.layers * (3 * mixture.shared + 2 * mixture.routed)
        total += mixture.layers * here * (3 * mixture.intermediate + 4 * hidden)
        count += mixture.layers * (4 + (mixture.shared > 0))
    once = 4 * hidden  # the embedding and the last norm
    return Elementwise("elementwise", (total + once) * float(model.dtype_bytes), count + 2, model.layers)
