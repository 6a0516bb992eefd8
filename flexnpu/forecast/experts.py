# SPDX-License-Identifier: Apache-2.0
"""Routed experts on one device: which of them a batch touches, and how many rows each product has.

Every token chooses its experts evenly and on its own. So n tokens touch E (1 - (1 - k/E)^n) of E experts, whose weights
are read, and the busiest of D devices has about sqrt(2 m ln D) rows more than the mean m.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import numpy as np

from flexnpu.forecast.operators import Amount, Cores, Cost, OperatorModel
from flexnpu.llm import ModelShape, Parallel
from flexnpu.llm.shape import Experts


def touched(experts: Experts, tokens: Amount) -> Amount:
    """Expected number of distinct experts, of those kept here, that so many tokens choose."""
    return experts.kept * (1.0 - (1.0 - experts.chosen / experts.routed) ** tokens)


def busiest_rows(experts: Experts, parallel: Parallel, tokens: Amount) -> Amount:
    """Rows that the experts of the busiest device get of so many tokens. Never falls with tokens."""
    mean = tokens * (parallel.imbalance * experts.chosen * experts.kept / experts.routed)
    if parallel.expert == 1:
        return mean
    most = tokens * float(min(experts.chosen, experts.kept))
    return np.minimum(mean + (2.0 * log(parallel.expert) * mean) ** 0.5, most)


class Grouped(NamedTuple):
    """A matrix of every routed expert, in one launch over those that were chosen."""

    name: str
    times: int
    k: int
    n: int
    dtype: str
    experts: Experts
    parallel: Parallel
    kind: str = "grouped_gemm"

    def cost(self, operators: OperatorModel, tokens: Amount, cores: Cores = None) -> Cost:
        """tokens: of one group of devices; experts get those of all groups."""
        every = tokens * float(self.parallel.groups)
        rows = busiest_rows(self.experts, self.parallel, every)
        hit = touched(self.experts, every)
        return operators.grouped_gemm(rows, hit, self.n, self.k, self.dtype, cores).times(self.times)


def expert_layers(part: ModelShape, dtype: str, parallel: Parallel) -> list[Grouped]:
    """Both products of a device's part of the experts."""
    one = part.experts
    assert one is not None
    return [
        Grouped("experts_gate_up", one.layers, part.hidden, 2 * one.intermediate, dtype, one, parallel),
        Grouped("experts_down", one.layers, one.intermediate, part.hidden, dtype, one, parallel),
    ]
