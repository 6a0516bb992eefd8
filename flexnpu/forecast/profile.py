# SPDX-License-Identifier: Apache-2.0
"""How much of a device's peaks operators reach, as a function of cores, and what each launch costs.

The defaults come from published measurements of Ascend 910B; `Profile.of` knows those of other kinds of device, and a
Profile that was calibrated from a table takes their place (`calibration_file`).
The software NPU has a time model of its own; the formulas are stated here so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from flexnpu.forecast.batch import Floats
from flexnpu.hardware import Soc

if TYPE_CHECKING:  # calibration builds on operators, and operators on this
    from flexnpu.forecast.calibration_series import Series

Fraction = TypeVar("Fraction", float, Floats)
# Relative standard deviation of a data sheet's forecast, by kind of operator: what the vendor's roofline was off by on
# measured 910B2 operators, until a calibration says better.
UNCALIBRATED = {
    "gemm": 0.2,
    "grouped_gemm": 0.3,
    "context_attention": 0.3,
    "generation_attention": 0.25,
    "elementwise": 0.5,
    "collective": 0.5,
}


def saturation(share: Fraction, bend: float) -> Fraction:
    """Part of a full device's rate that a share of its cores reaches: x * (1 + bend * (1 - x)).

    0 at no cores, 1 at all, concave, and rising as long as bend <= 1. bend 0 is proportional to cores.
    """
    return share * (1.0 + bend * (1.0 - share))


@dataclass(frozen=True, slots=True)
class Profile:
    """The constants of the roofline, and what was measured."""

    # fp16 GEMM 8192^3 on a 910B2 reaches 77 % of peak, launch and the part that does not overlap included.
    compute_efficiency: float = 0.775
    # M=1 GEMMs on a 910B2 stream weights at 1.06 to 1.19 of 1.6 TB/s, launch included.
    bandwidth_efficiency: float = 0.75
    # A cube-bound matmul loop runs 3.49, 1.83, 1.27 times slower on 25, 50, 75 % of the cores; this gives 3.51, 1.83
    # and 1.27.
    compute_bend: float = 0.185
    # Half the cores cost decode-type operators 1.23 to 1.57 times; this gives 1.4, and 2.43 on a quarter.
    bandwidth_bend: float = 0.857
    # What the 2-norm of computing and moving has beyond the longer of both, as measured products have it: the part of
    # it that is hidden after all. 1: a plain roofline.
    overlap: float = 0.0
    matmul_seconds: float = 3e-6
    vector_seconds: float = 2e-6  # the vendor's
    # Small attention takes no less than 18 to 30 us on a 910B2: a launch, and a block of 128 queries' own time.
    attention_seconds: float = 12.5e-6
    block_seconds: float = 5e-6
    # 128 queries against a key of width 128 take about 10 ns of a core when all run, 7.5 ns when one does: of public
    # 910B attention timings the slope between lengths, docs/forecast.md.
    attention_efficiency: float = 0.45
    attention_bend: float = 0.35
    # Decode attention reads its cache at 0.9 to 1.46 of 1.6 TB/s, launch included.
    attention_bandwidth: float = 0.75
    # Part of attention's time that softmax takes at a head width of 128; vector units do not care for the width.
    softmax_part: float = 0.5
    # Matrices are cut into multiples of this on the cores; 1 where that is not modelled.
    tile: int = 16
    # Part of a link's rate that a collective reaches: two H100 through NCCL reach 0.5 to 0.67 in all-reduces of 16 to
    # 256 MiB, as this project measured, and eight 0.8. Of HCCL on Ascend nothing is known.
    link_efficiency: float = 0.65
    # Before the first token is with its expert, or back: what is left of DeepEP-Ascend's 126 to 153 us for 128 tokens
    # over 8 to 32 dies of Atlas A3 (github.com/sgl-project/sgl-kernel-npu) once the bytes are taken off.
    exchange_seconds: float = 80e-6
    # Of the engine per iteration, beside the device's operators: scheduling, launching, sampling.
    iteration_seconds: float = 0.0
    uncertainty: Mapping[str, float] = field(default_factory=lambda: dict(UNCALIBRATED))
    series: tuple[Series, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)  # what the table said of itself

    @classmethod
    def of(cls, soc: Soc) -> Profile:
        """The constants that are known of devices of its kind."""
        if soc.kind == "gpu":
            # aiconfigurator's own constants where it has no measurement: 0.8 of bandwidth, 3 us; FlashAttention-3's
            # paper (arXiv 2407.08608): 0.6 to 0.75 of an H100's peak at long lengths, less at short ones.
            return cls(
                compute_efficiency=0.75,
                bandwidth_efficiency=0.8,
                attention_seconds=8e-6,
                block_seconds=1e-6,
                attention_efficiency=0.55,
                attention_bend=0.185,
                softmax_part=0.3,
                tile=1,
                exchange_seconds=45e-6,  # the same of DeepEP's 77 and 114 us on 8 H800 (github.com/deepseek-ai/DeepEP)
            )
        return cls()

    def without_series(self) -> Profile:
        """The constants alone."""
        return replace(self, series=())

    def compute(self, peak_flops: float, share: Fraction) -> Fraction:
        """P: operations per second on a share of the cores."""
        return saturation(share, self.compute_bend) * (self.compute_efficiency * peak_flops)

    def bandwidth(self, peak_bytes: float, share: Fraction) -> Fraction:
        """W: bytes per second on a share of the cores."""
        return saturation(share, self.bandwidth_bend) * (self.bandwidth_efficiency * peak_bytes)
