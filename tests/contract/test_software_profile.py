# SPDX-License-Identifier: Apache-2.0
"""The forecast of the software NPU has the constants of its time model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flexnpu.experiment.device import PROFILE, software_forecaster
from flexnpu.experiment.stack import MODEL, SOC
from flexnpu.forecast import Load
from flexnpu.llm import ModelShape

NATIVE = Path(__file__).parents[2] / "native/softnpu"
CONSTANTS = {
    "kComputeEfficiency": ("compute_efficiency", "attention_efficiency"),
    "kBandwidthEfficiency": ("bandwidth_efficiency", "attention_bandwidth"),
    "kComputeBend": ("compute_bend", "attention_bend"),
    "kBandwidthBend": ("bandwidth_bend",),
    "kMatmulConstant": ("matmul_seconds",),
    "kVectorConstant": ("vector_seconds",),
    "kAttentionConstant": ("attention_seconds",),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_the_devices(name):
    source = (NATIVE / "device/model.cc").read_text() + (NATIVE / "ops/cost.h").read_text()
    [value] = re.findall(rf"constexpr double {name} = ([\d.e-]+);", source)
    assert [getattr(PROFILE, field) for field in CONSTANTS[name]] == [float(value)] * len(CONSTANTS[name])


@pytest.mark.parametrize(
    ("cores", "load", "milliseconds"),
    [
        # Between two events on the device, everything launched before the first: Qwen2.5-7B's shape in the example.
        (12, Load.decode(1, 268), 19.13),
        (24, Load.decode(1, 268), 14.08),
        (24, Load.decode(8, 8 * 601), 14.19),
        (12, Load.prefill(256), 26.10),
        (24, Load.prefill(512), 28.26),
        (6, Load.prefill(2048), 370.39),
        (24, Load.prefill(2048), 108.17),
    ],
)
def test_an_iteration_takes_what_it_took_there(cores, load, milliseconds):
    forecaster = software_forecaster(ModelShape.from_config(MODEL), SOC)
    assert forecaster.seconds(cores, load) * 1e3 == pytest.approx(milliseconds, rel=0.08)
