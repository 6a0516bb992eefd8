# SPDX-License-Identifier: Apache-2.0
"""How much of a device's peaks operators reach, as a function of cores, and what each launch costs.

The defaults come from published measurements of Ascend 910B; a Profile measured on a device takes their place.
The software NPU has a time model of its own; the formulas are stated here so that the two can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from flexnpu.forecast.batch import Floats

Fraction = TypeVar("Fraction", float, Floats)


def saturation(share: Fraction, bend: float) -> Fraction:
    """Part of a full device's rate that a share of its cores reaches: x * (1 + bend * (1 - x)).

    0 at no cores, 1 at all, concave, and rising as long as bend <= 1. bend 0 is proportional to cores.
    """
    return share * (1.0 + bend * (1.0 - share))


@dataclass(frozen=True, slots=True)
class Profile:
    """The constants of the roofline."""

    # fp16 GEMM 8192^3 on a 910B2 reaches 77 % of peak.
    compute_efficiency: float = 0.77
    # M=1 GEMMs on a 910B2 stream weights at 1.06 to 1.19 of 1.6 TB/s.
    bandwidth_efficiency: float = 0.7
    # A cube-bound matmul loop runs 3.49, 1.83, 1.27 times slower on 25, 50, 75 % of the cores; this gives 3.51, 1.83
    # and 1.27.
    compute_bend: float = 0.185
    # Half the cores cost decode-type operators 1.23 to 1.57 times; this gives 1.4, and 2.43 on a quarter.
    bandwidth_bend: float = 0.857
    # Vendor's constants per launch, and the least time that small attention takes on a 910B2 (18 to 30 us).
    matmul_seconds: float = 5e-6
    vector_seconds: float = 2e-6
    attention_seconds: float = 18e-6

    def compute(self, peak_flops: float, share: Fraction) -> Fraction:
        """P: operations per second on a share of the cores."""
        return saturation(share, self.compute_bend) * (self.compute_efficiency * peak_flops)

    def bandwidth(self, peak_bytes: float, share: Fraction) -> Fraction:
        """W: bytes per second on a share of the cores."""
        return saturation(share, self.bandwidth_bend) * (self.bandwidth_efficiency * peak_bytes)
