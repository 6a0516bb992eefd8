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
    yield from _supernode()


def _supernode() -> Iterator[tuple[str, str, str]]:
    """DeepSeek-R1 in W8A8 on CloudMatrix384 (arXiv 2506.12708), whose 768 dies are one node."""
    soc = replace(load_soc("Ascend910_9391"), node_devices=768)
    shape = ModelShape.from_config(find_config("DeepSeek-R1")[1], weights="int8")
    dies = 2
    prompts = Forecaster(shape, soc, None, Parallel(1, 32)).forecast(24, [Request(4096, 0, 2)])
    told = f"{dies * prompts.tokens_per_second:,.0f} tokens/s"
    yield "DeepSeek-R1 W8A8 on CloudMatrix384, prompts of 4096 over 32 dies, per 910C", "6,688 tokens/s", told
    decode = Forecaster(shape, soc, None, Parallel(1, 256))
    running = max(range(1, 97), key=lambda count: (decode.seconds(24, Load.decode(count, count * 4097)) <= 0.05, count))
    told = f"{dies * running / 0.05:,.0f} tokens/s"
    yield "the same, decode over 256 dies within 50 ms, contexts of 4096, per 910C", "1,943 tokens/s", told


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
