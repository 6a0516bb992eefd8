# SPDX-License-Identifier: Apache-2.0
"""How a model is spread over devices, and what each of them has of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flexnpu.llm.errors import ModelError
from flexnpu.llm.shape import Experts, ModelShape


@dataclass(frozen=True, slots=True)
class Parallel:
    """tensor: devices that share every matrix. expert: devices that routed experts are spread over, whole.

    With expert 1 experts are cut like other matrices. With more, expert / tensor groups of `tensor` devices each run
    attention for their own requests and meet in the experts; all groups are taken to run as many tokens. imbalance: the
    busiest device's tokens over the mean, as measured; what even routing itself leaves uneven is counted apart.
    """

    tensor: int = 1
    expert: int = 1
    imbalance: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("tensor", self.tensor), ("expert", self.expert)):
            if value < 1:
                raise ModelError(f"{name} parallel is {value}; it must be 1 or more")
        if not 1.0 <= self.imbalance < float("inf"):
            raise ModelError(f"imbalance is {self.imbalance}; it must be 1 or more")
        if self.expert > 1 and self.expert % self.tensor:
            raise ModelError(
                f"expert parallel {self.expert} is no multiple of tensor parallel {self.tensor}; give 1 or one"
            )

    @property
    def groups(self) -> int:
        """Groups of devices that run requests of their own and share the experts."""
        return max(1, self.expert // self.tensor)

    @property
    def devices(self) -> int:
        return max(self.tensor, self.expert)

    def share(self, model: ModelShape) -> ModelShape:
        """What one device has of the model: its weights, its heads, its part of the cache.

        Norms, routers and compressed keys and values are on every device; so is a KV head when there are fewer of them
        than devices.
        """
        if self.devices == 1:
            return model
        return replace(
            model,
            heads=self._cut(model.heads, "num_attention_heads"),
            kv_heads=self._kv_heads(model),
            intermediate=self._cut(model.intermediate, "intermediate_size"),
            vocab=-(-model.vocab // self.tensor),
            experts=self._experts(model.experts),
        )

    def _kv_heads(self, model: ModelShape) -> int:
        if model.latent:
            return self._cut(model.kv_heads, "num_key_value_heads")
        if self.tensor > model.kv_heads and self.tensor % model.kv_heads == 0:
            return 1
        return self._cut(model.kv_heads, "num_key_value_heads")

    def _experts(self, experts: Experts | None) -> Experts | None:
        if experts is None:
            if self.expert > 1:
                raise ModelError(f"expert parallel {self.expert} for a model without experts; it must be 1")
            return None
        shared = self._cut(experts.shared, "shared experts' size")
        if self.expert == 1:
            return experts._replace(intermediate=self._cut(experts.intermediate, "experts' size"), shared=shared)
        if experts.kept % self.expert:
            raise ModelError(f"expert parallel {self.expert}; it must divide the {experts.kept} experts")
        return experts._replace(kept=experts.kept // self.expert, shared=shared)

    def _cut(self, size: int, what: str) -> int:
        if size % self.tensor:
            raise ModelError(f"tensor parallel {self.tensor}; it must divide {what} ({size})")
        return size // self.tensor
