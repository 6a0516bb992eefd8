# SPDX-License-Identifier: Apache-2.0
"""What a policy answers: cores per phase, why, and what it was weighed against."""

from __future__ import annotations

from typing import Literal, NamedTuple

from flexnpu.planner.snapshot import Split

Mode = Literal["aggregated", "split"]


class Alternative(NamedTuple):
    """One candidate with its forecast. Named tuples: two dozen are made with every plan."""

    mode: Mode
    split: Split
    steps: int  # decode iterations during one prefill iteration
    prefill_seconds: float
    decode_seconds: float
    tokens_per_second: float
    verdict: str


class Plan(NamedTuple):
    """The chosen candidate. When aggregated, both phases run mixed on the same cores, and split names those twice."""

    chosen: Alternative
    reason: str
    alternatives: tuple[Alternative, ...]
    meets_itl: bool

    @property
    def mode(self) -> Mode:
        return self.chosen.mode

    @property
    def split(self) -> Split:
        return self.chosen.split

    @property
    def prefill_cores(self) -> int:
        return self.chosen.split.prefill

    @property
    def decode_cores(self) -> int:
        return self.chosen.split.decode

    @property
    def k(self) -> int:
        return self.chosen.steps

    @property
    def cores_used(self) -> int:
        """Cores that the device has to have for this plan."""
        return max(self.split) if self.mode == "aggregated" else sum(self.split)


def rate(tokens: float, seconds: float) -> float:
    """Tokens per second; nothing to do is no rate."""
    return tokens / seconds if tokens and seconds > 0 else 0.0
