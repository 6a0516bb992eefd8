# SPDX-License-Identifier: Apache-2.0
"""The forecast beside published measurements of Ascend 910B2, as a table: python -m flexnpu.forecast.anchors

docs/forecast.md shows this table, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from flexnpu.forecast.batch import Request
from flexnpu.forecast.forecaster import Forecaster
from flexnpu.forecast.load import Load
from flexnpu.forecast.profile import Profile
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape, Parallel
from flexnpu.llm.presets import find_config

# Sizes of Qwen2.5-7B, the model that the published co-location results use.
QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "torch_dtype": "bfloat16",
}


def rows() -> Iterator[tuple[str, str, str]]:
    """What, measured, forecast."""
    soc, profile = load_soc("Ascend910B2"), Profile()
    forecaster = Forecaster(ModelShape.from_config(QWEN), soc, profile)
    operators = forecaster.operators
    rate = 2 * 8192**3 / operators.seconds(operators.gemm(8192.0, 8192, 8192))
    yield "fp16 GEMM 8192^3, part of peak", "77 %", f"{rate / soc.peak_flops:.1%}"
    for size in (8192, 3584):
        rate = 2 * size * size / operators.seconds(operators.gemm(1.0, size, size))
        yield f"M=1 GEMM {size} x {size}, weights streamed", "1.06 to 1.19 TB/s", f"{rate / 1e12:.2f} TB/s"
    yield "decode attention, 64 x 4096", "0.9 to 1.46 TB/s", f"{_attention(forecaster, 64, 4096):.2f} TB/s"
    yield "decode attention, 8 x 2048", "0.9 to 1.46 TB/s", f"{_attention(forecaster, 8, 2048):.2f} TB/s"
    small = forecaster.forecast(24, [Request(1, 16)]).by_operator["decode_attention"] / forecaster.model.layers
    yield "small attention, at least", "18 to 30 us", f"{small * 1e6:.0f} us"
    for share, measured in ((0.25, "3.49"), (0.5, "1.83"), (0.75, "1.27")):
        slower = profile.compute(soc.peak_flops, 1.0) / profile.compute(soc.peak_flops, share)
        yield f"cube-bound loop on {share:.0%} of the cores, times slower", measured, f"{slower:.2f}"
    for batch, context in ((8, 2100), (64, 4096)):
        decode = [Request(1, context, batch)]
        alone = forecaster.alone(decode)
        beside = forecaster.split([Request(2048)], decode)[1]
        yield f"decode {batch} x {context} on half the cores", "1.23 to 1.57", f"{alone[12] / alone[24]:.2f}"
        yield "the same beside a prefill of 2048", "1.23 to 1.57", f"{beside[12] / alone[24]:.2f}"
    yield from _deepseek()


def _deepseek() -> Iterator[tuple[str, str, str]]:
    """DeepSeek-V3 over many devices: CloudMatrix384 (arXiv 2506.12708), whose 768 dies are one node, two per 910C; and
    the H800s that serve it (github.com/deepseek-ai/open-infra-index, day 6), H100s with 400 GB/s of NVLink."""
    config, dies = find_config("DeepSeek-R1")[1], 2
    supernode = replace(load_soc("Ascend910_9391"), node_devices=768)
    narrow = ModelShape.from_config(config, weights="int8")
    prompts = Forecaster(narrow, supernode, None, Parallel(1, 32)).forecast(24, [Request(4096, 0, 2)])
    told = f"{dies * prompts.tokens_per_second:,.0f} tokens/s"
    yield "DeepSeek-R1 W8A8 on CloudMatrix384, prompts of 4096 over 32 dies, per 910C", "6,688 tokens/s", told
    rate = dies * _within(0.05, Forecaster(narrow, supernode, None, Parallel(1, 256)), 4096)
    yield "the same, decode over 256 dies within 50 ms, per 910C", "1,943 tokens/s", f"{rate:,.0f} tokens/s"
    h800 = replace(load_soc("H100"), link_bandwidth=200e9)
    rate = _within(0.05, Forecaster(ModelShape.from_config(config), h800, None, Parallel(1, 128)), 4989)
    yield "DeepSeek-V3 on H800s, decode over 128 within 50 ms, per device", "1,850 tokens/s", f"{rate:,.0f} tokens/s"


def _within(seconds: float, forecaster: Forecaster, context: int) -> float:
    """Tokens per second of the largest batch whose iteration takes no longer."""
    loads = [Load.decode(count, count * (context + 1)) for count in range(1, 257)]
    most = max(load.sequences for load in loads if forecaster.seconds(forecaster.cores, load) <= seconds)
    return most / seconds


def table() -> str:
    """The rows as Markdown."""
    lines = ["| what | measured | forecast |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {measured} | {told} |" for what, measured, told in rows())])


def _attention(forecaster: Forecaster, batch: int, context: int) -> float:
    """Keys and values read per second, in TB/s."""
    model = forecaster.model
    decode = [Request(1, context, batch)]
    moved = 2.0 * batch * (context + 1) * 2 * model.kv_width * model.layers
    return moved / forecaster.forecast(forecaster.cores, decode).by_operator["decode_attention"] / 1e12


if __name__ == "__main__":
    print(table())
