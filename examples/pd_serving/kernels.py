# SPDX-License-Identifier: Apache-2.0
"""The fused operators a decoder layer is made of: torch_npu's on an NPU, plain torch elsewhere.

Rows are tokens. A paged cache is (blocks, block, kv_heads * head_dim); a block table names each sequence's blocks in
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody gives it
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Heads:
    """Attention's shape."""

    query: int
    kv: int
    dim: int

    @property
    def scale(self) -> float:
        return float(self.dim**-0.5)

    @property
    def query_width(self) -> int:
        return self.query * self.dim

    @property
    def kv_width(self) -> int:
        return self.kv * self.dim


class Kernels(Protocol):
    """What a layer calls. kv: keys and values of a layer's cache; lengths: tokens there, the new ones with them; ends:
    running sums of the new ones."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor: ...

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]: ...

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor: ...

    def swiglu(self, x: Tensor) -> Tensor: ...

    def write_rows(self, cache: Tensor, rows: Tensor, values: Tensor) -> None: ...

    def attend_paged(self, q: Tensor, kv: KeysValues, table: Tensor, lengths: Sequence[int]) -> Tensor:
        """q: (sequences, width), one new token of each."""

    def attend_chunks(
        self, q: Tensor, kv: KeysValues, table: Tensor, ends: Sequence[int], lengths: Sequence[int]
    ) -> Tensor:
        """q: (tokens, width), any number of new tokens of each."""


def kernels_for(device: torch.device, heads: Heads, block: int) -> Kernels:
    return NpuKernels(device, heads, block) if device.type == "npu" else TorchKernels(heads)


class NpuKernels:
    """torch_npu's fused operators: one launch each."""

    # The operator wants its causal mask compressed to this size, whatever the lengths.
    _MASK = 2048

    def __init__(self, device: torch.device, heads: Heads, block: int) -> None:
        import torch_npu  # noqa: PLC0415 - only where there is one

        self._heads = heads
        self._rms: Any = torch_npu.npu_rms_norm
        self._add_rms: Any = torch_npu.npu_add_rms_norm
        self._rotary: Any = torch_npu.npu_rotary_mul
        self._scatter: Any = torch_npu.npu_scatter_nd_update_
        self._attend: Any = torch_npu.npu_fused_infer_attention_score
        self.swiglu: Any = torch_npu.npu_swiglu
        self._causal = torch.ones(self._MASK, self._MASK, dtype=torch.bool).triu_(1).to(device)
        self._no_lse = torch.empty(1, dtype=torch.float32, device=device)
        shared: dict[str, Any] = {
            "num_heads": heads.query,
            "num_key_value_heads": heads.kv,
            "scale": heads.scale,
            "block_size": block,
        }
        self._paged: dict[str, Any] = {**shared, "input_layout": "BSH"}
        self._chunks: dict[str, Any] = {
            **shared,
            "input_layout": "TND",
            "sparse_mode": 3,  # causal, and the last query sees the last key
            "atten_mask": self._causal,
        }

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        result: Tensor = self._rms(x, weight, eps)[0]
        return result

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        y, _, total = self._add_rms(x, residual, weight, eps)
        return y, total

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        result: Tensor = self._rotary(x, cos, sin)
        return result

    def write_rows(self, cache: Tensor, rows: Tensor, values: Tensor) -> None:
        self._scatter(cache, rows, values)

    def attend_paged(self, q: Tensor, kv: KeysValues, table: Tensor, lengths: Sequence[int]) -> Tensor:
        out: Tensor = self._attend(
            q.unsqueeze(1), *kv, block_table=table, actual_seq_lengths_kv=lengths, **self._paged
        )[0]
        return out.squeeze(1)

    def attend_chunks(
        self, q: Tensor, kv: KeysValues, table: Tensor, ends: Sequence[int], lengths: Sequence[int]
    ) -> Tensor:
        out: Tensor = self._attend(
            q.view(-1, self._heads.query, self._heads.dim),
            *kv,
            block_table=table,
            actual_seq_lengths=ends,
            actual_seq_lengths_kv=lengths,
            **self._chunks,
        )[0]
        return out.view(-1, self._heads.query_width)

    def attend_paged_into(
        self, out: Tensor, query: Tensor, kv: KeysValues, table: Tensor, lengths: Sequence[int]
    ) -> None:
        """As attend_paged, into (sequences, 1, width): what a captured graph can be told other lengths for."""
        self._attend.out(
            query.unsqueeze(1),
            *kv,
            block_table=table,
            actual_seq_lengths_kv=lengths,
            **self._paged,
            out=[out, self._no_lse],
        )


class TorchKernels:
    """The same in plain torch, computed the way transformers does."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        total = x + residual
        return self.rms_norm(total, weight, eps), total

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat((-right, left), -1) * sin

    def swiglu(self, x: Tensor) -> Tensor:
        gate, up = x.chunk(2, -1)
        return F.silu(gate) * up

    def write_rows(self, cache: Tensor, rows: Tensor, values: Tensor) -> None:
        cache.index_copy_(0, rows.view(-1), values)

    def attend_paged(self, q: Tensor, kv: KeysValues, table: Tensor, lengths: Sequence[int]) -> Tensor:
        return self.attend_chunks(q, kv, table, range(1, len(lengths) + 1), lengths)

    def attend_chunks(
        self, q: Tensor, kv: KeysValues, table: Tensor, ends: Sequence[int], lengths: Sequence[int]
    ) -> Tensor:
        heads = self._heads
        parts = []
        for blocks, start, end, length in zip(table.long(), [0, *ends[:-1]], ends, lengths, strict=True):
            keys, values = (cache[blocks].view(-1, heads.kv, heads.dim)[:length] for cache in kv)
            parts.append(self._attend(q[start:end].view(-1, heads.query, heads.dim), keys, values))
        return torch.cat(parts).view(-1, heads.query_width)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The last query sees the last key."""
        new, length = q.shape[0], k.shape[0]
        out = F.scaled_dot_product_attention(
            q.transpose(0, 1).unsqueeze(0),
            k.transpose(0, 1).unsqueeze(0),
            v.transpose(0, 1).unsqueeze(0),
            attn_mask=torch.ones(new, length, dtype=torch.bool).tril_(length - new) if new > 1 else None,
            scale=self._heads.scale,
            enable_gqa=True,
        )
        return out[0].transpose(0, 1)
