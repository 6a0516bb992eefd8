# SPDX-License-Identifier: Apache-2.0
"""The forecast of the software NPU: the constants of its time model (native/softnpu) in place of a data sheet's.

The two models have different constants where publications leave room, and another rule of overlap; a forecast that is
to be held against runs on the software NPU has to be that of the device they ran on, as one would calibrate a real one.
"""

from __future__ import annotations

from flexnpu.forecast import Forecaster, Profile
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape

# native/softnpu/device/model.cc and native/softnpu/ops/cost.h; tests/contract holds them to that.
PROFILE = Profile(
    compute_efficiency=0.77,
    bandwidth_efficiency=0.7,
    compute_bend=0.185,
    bandwidth_bend=0.857,
    overlap=1.0,
    matmul_seconds=5e-6,
    vector_seconds=2e-6,
    attention_seconds=18e-6,
    block_seconds=0.0,
    attention_efficiency=0.77,
    attention_bend=0.185,
    attention_bandwidth=0.7,
    softmax_part=0.0,
    tile=1,
)


def software_forecaster(model: ModelShape, soc: str) -> Forecaster:
    """Of that model on the software NPU of that name."""
    return Forecaster(model, load_soc(soc), PROFILE)
