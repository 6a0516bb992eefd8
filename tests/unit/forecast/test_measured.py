# SPDX-License-Identifier: Apache-2.0
"""The data sheet's forecast beside what was measured, where no table of the kind is public.

On H100s by this project: 80GB HBM3 SXM, PyTorch 2.11, CUDA 13, in graphs.
"""

from dataclasses import replace

import numpy as np
import pytest

from flexnpu.forecast.collectives import all_gather, all_reduce, exchange
from flexnpu.forecast.operators import OperatorModel
from flexnpu.forecast.profile import Profile
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config

H100 = load_soc("H100")
PROFILE = Profile.of(H100)

# torch._grouped_mm in bf16. Experts, k, n: tokens times experts per token, experts that were chosen, microseconds.
GROUPED = {
    (128, 2048, 1536): [
        (8, 8, 31.25), (32, 28, 77.45), (128, 84, 199.57), (512, 123, 289.78), (2048, 128, 305.46), (8192, 128, 316.39),
        (32768, 128, 465.29),
    ],
    (8, 4096, 28672): [
        (2, 2, 217.48), (8, 8, 787.86), (32, 8, 701.39), (128, 8, 703.15), (512, 8, 718.53), (2048, 8, 1089.61),
        (8192, 8, 2976.6),
    ],
    (8, 7168, 4096): [
        (8, 8, 184.46), (32, 8, 184.62), (128, 8, 179.8), (512, 8, 176.24), (2048, 8, 200.9), (8192, 8, 617.85),
        (32768, 8, 2881.85),
    ],
}  # fmt: skip
# Two devices through NCCL: bytes, microseconds of an all-reduce and of an all-gather of so many.
COLLECTIVES = [
    (8192, 8.92, 8.11), (65_536, 9.71, 8.27), (524_288, 12.53, 10.56), (1_048_576, 16.56, 13.12),
    (4_194_304, 35.02, 28.33), (16_777_216, 78.24, 58.14), (67_108_864, 249.58, 162.08), (268_435_456, 886.51, 552.55),
]  # fmt: skip


def test_products_over_experts_are_within_a_tenth_on_average():
    operators, errors = OperatorModel(H100, PROFILE), []
    for (_, k, n), rows in GROUPED.items():
        for pairs, chosen, measured in rows:
            told = 1e6 * operators.seconds(operators.grouped_gemm(float(pairs), float(chosen), n, k))
            errors.append(told / measured - 1.0)
    assert np.abs(errors).mean() < 0.1
    assert np.abs(errors).max() < 0.35


@pytest.mark.parametrize(("collective", "column", "most"), [(all_reduce, 1, 0.15), (all_gather, 2, 0.25)])
def test_collectives_of_two_devices_are_near_what_nccl_takes(collective, column, most):
    start, each = collective(H100, 2, PROFILE.link_efficiency)
    errors = [1e6 * (start + each * row[0]) / row[column] - 1.0 for row in COLLECTIVES]
    assert np.abs(errors).mean() < most


# 128 tokens of 7168 to 8 of 256 experts each and back, in 8 and in 16 bits: devices, microseconds there and back.
# DeepEP-Ascend on Atlas A3, links alone (sgl-kernel-npu's README); DeepEP on H800, over the network alone (its README).
EXCHANGES = {
    "Ascend910_9391": [(8, 132, 126), (16, 139, 135), (32, 153, 151)],
    "H100": [(32, 155, 273), (64, 173, 314), (128, 192, 369), (256, 194, 360)],
}


@pytest.mark.parametrize(("device", "nodes_of", "most"), [("Ascend910_9391", 768, 0.2), ("H100", 8, 0.25)])
def test_tokens_reach_their_experts_about_when_they_were_measured_to(device, nodes_of, most):
    soc = replace(load_soc(device), node_devices=nodes_of)
    profile, experts = Profile.of(soc), ModelShape.from_config(find_config("DeepSeek-R1")[1]).experts
    errors = []
    for devices, *measured in EXCHANGES[device]:
        start, each = exchange(soc, devices, experts, profile.link_efficiency, profile.exchange_seconds)
        for wide, seconds in zip((1, 2), measured, strict=True):
            errors.append(1e6 * (start + each * 128 * 7168 * wide) / seconds - 1.0)
    assert np.abs(errors).mean() < most, np.round(errors, 2)
