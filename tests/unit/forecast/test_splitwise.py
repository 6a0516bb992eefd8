# SPDX-License-Identifier: Apache-2.0
"""Llama-2-70B over 2, 4 and 8 devices beside Splitwise's measurements (arXiv 2311.18677, its perf_model.csv)."""

import pytest

from flexnpu.forecast import Forecaster, Request
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape, Parallel

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 32000, "torch_dtype": "float16",
}  # fmt: skip
# Milliseconds of a prompt of 2048 tokens, medians. Decode is no use: from 4 to 8 devices that engine got no faster.
PROMPT = {"A100": {2: 688.1, 4: 403.3, 8: 274.2}, "H100": {2: 310.3, 4: 200.7, 8: 136.8}}


@pytest.mark.parametrize("device", PROMPT)
def test_prompts_gain_from_more_devices_as_was_measured(device):
    shape, soc, measured = ModelShape.from_config(LLAMA), load_soc(device), PROMPT[device]
    told = {
        degree: 1e3 * Forecaster(shape, soc, None, Parallel(degree)).forecast(soc.cores, [Request(2048)]).seconds
        for degree in measured
    }
    assert 0.65 < told[2] / measured[2] < 1.0  # an engine of 2023, which the forecast knows nothing of
    for degree in (4, 8):
        assert told[2] / told[degree] == pytest.approx(measured[2] / measured[degree], rel=0.2)
