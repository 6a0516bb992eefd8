# SPDX-License-Identifier: Apache-2.0
"""More work never takes less time, nor the same work on fewer cores: whatever batch, device, model, and way to ask."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Forecaster, Request
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape, Parallel
from flexnpu.llm.presets import find_config

LLAMA_8B = Path(__file__).parents[2] / "data" / "models" / "llama-3.1-8b.json"
ROUNDED = 1e-9  # relative
DEVICES = ["Ascend910B2", "Ascend310P3", "H100", "A100", "Ascend910_9391"]
LATENT = "DeepSeek-R1"
# Heads, and heads of keys: of one for each, as Llama-2-7B has, to one for eight.
HEADS = [(32, 32), (32, 16), (24, 8), (32, 8), (28, 4), (64, 8)]


def grouped(heads, kv_heads):
    return {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 128 * heads, "intermediate_size": 344 * heads,
        "num_hidden_layers": 32, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": 128,
        "vocab_size": 32_000, "torch_dtype": "float16",
    }  # fmt: skip


@cache
def sheet(device, heads):
    """From the data sheet alone."""
    if heads != LATENT:
        return Forecaster(ModelShape.from_config(grouped(*heads)), load_soc(device))
    parallel = Parallel(expert=64) if device == "Ascend910_9391" else None
    return Forecaster(ModelShape.from_config(find_config(LATENT)[1]), load_soc(device), parallel=parallel)


shapes = st.sampled_from([*HEADS, LATENT])


def sizes(most):
    """Small ones as often as large ones: where kernels change, and knots are close together."""
    return st.one_of(
        st.integers(0, 3), st.integers(0, 64), st.integers(0, most), st.sampled_from([127, 255, 1023, 2047])
    )


requests = st.builds(
    lambda new, cached, copies: Request(new + 1, cached, copies),
    st.one_of(st.just(0), sizes(8192)),
    sizes(32_000),
    st.one_of(st.just(1), st.integers(1, 64)),
)
batches = st.lists(requests, max_size=4)


@st.composite
def growths(draw):
    """A batch, and one that has more to do: a token, a cached token, a request more; or very many."""
    rest, one, by = draw(batches), draw(requests), draw(st.one_of(st.just(1), st.integers(1, 4000)))
    what = draw(st.sampled_from(["second token", "new", "cached", "request"]))
    if what == "request":
        return (rest, [*rest, one]) if rest else ([one], [one, one])
    one = one._replace(copies=1, new=1 if what == "second token" else one.new)
    more = one._replace(cached=one.cached + by) if what == "cached" else one._replace(new=one.new + by)
    return [*rest, one], [*rest, more]


def never_less(before, after):
    before, after = np.asarray(before), np.asarray(after)
    assert (after >= before * (1 - ROUNDED)).all(), float(np.nanmin(after / before)) - 1.0


def check_growth(forecaster, growth, beside, on):
    """By every way to ask, on every number of cores, alone and beside others."""
    other, cores = forecaster.load(beside), forecaster.cores
    on = 1 + on % (cores - 1)
    neighbour = forecaster.forecast(cores - on, beside)
    loads = [forecaster.load(batch) for batch in growth]
    # A prompt does not grow from step to step, so what has become one is compared as it is now.
    steps = 8 if loads[0].decode_sequences <= loads[1].decode_sequences else 1
    before, after = (
        (
            forecaster.alone(load)[1:],
            forecaster.seconds(on, load),
            forecaster.split(load, other)[0][:-1],
            forecaster.split(other, load)[1][1:],
            forecaster.beside(on, load, cores - on, other)[0],
            forecaster.beside(cores - on, other, on, load)[1],
            forecaster.steps(on, load, steps),
            forecaster.forecast(on, load, neighbour).seconds,
        )
        for load in loads
    )
    for less, more in zip(before, after, strict=True):
        never_less(less, more)


def check_cores(forecaster, batch, other):
    """Of all splits too: whoever gets a core more takes no longer."""
    load = forecaster.load(batch)
    alone = forecaster.alone(load)
    never_less(alone[2:], alone[1:-1])
    prefill, decode = forecaster.split(batch, other)
    never_less(decode[2:], decode[1:-1])
    never_less(prefill[:-2], prefill[1:-1])
    steps = np.array([forecaster.steps(cores, load, 3) for cores in range(1, forecaster.cores + 1)])
    never_less(steps[1:], steps[:-1])
    never_less(steps[:, :-1], steps[:, 1:])


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None)
@given(heads=shapes, growth=growths(), beside=batches, on=st.integers(0, 200))
def test_more_work_never_takes_less_time(device, heads, growth, beside, on):
    check_growth(sheet(device, heads), growth, beside, on)


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=40)
@given(heads=shapes, batch=batches, other=batches)
def test_fewer_cores_never_take_less_time(device, heads, batch, other):
    check_cores(sheet(device, heads), batch, other)


@pytest.fixture(scope="session", params=["llama-3.1-8b", "Qwen3-8B"])
def measured(request, a100):
    """Calibrated: products, prompts and running requests."""
    soc, profile = a100
    config = LLAMA_8B if request.param == LLAMA_8B.stem else find_config(request.param)[1]
    return Forecaster(ModelShape.from_config(config), soc, profile)


@pytest.fixture(scope="session", params=[*HEADS, LATENT], ids=str)
def calibrated(request, a100):
    """The same of all kinds of heads, whether those were measured or not."""
    soc, profile = a100
    config = find_config(LATENT)[1] if request.param == LATENT else grouped(*request.param)
    return Forecaster(ModelShape.from_config(config), soc, profile)


@settings(deadline=None)
@given(growth=growths(), beside=batches, on=st.integers(0, 200))
def test_more_work_never_takes_less_time_where_operators_were_measured(calibrated, growth, beside, on):
    check_growth(calibrated, growth, beside, on)


@settings(deadline=None, max_examples=40)
@given(batch=batches, other=batches)
def test_fewer_cores_never_take_less_time_where_operators_were_measured(calibrated, batch, other):
    check_cores(calibrated, batch, other)


@pytest.mark.parametrize("cores", [1, 54, 108])
def test_no_number_of_tokens_shortens_what_is_no_attention(measured, cores):
    """Beside a neighbour too: a roofline scaled by a table falls where the table is flat."""
    neighbour = measured.forecast(measured.cores - cores, [Request(1, 4000, 64)]) if cores < measured.cores else None
    told = []
    for tokens in [*range(1, 300), *range(300, 3000, 17), *range(3000, 2_000_000, 99_999)]:
        parts = measured.forecast(cores, [Request(tokens)], neighbour).by_operator
        told.append(sum(seconds for name, seconds in parts.items() if "attention" not in name))
    never_less(told[:-1], told[1:])


@pytest.fixture(scope="session")
def joined(rtx):
    """Calibrated: layers, and prompts and running requests in one call."""
    soc, profile = rtx
    return Forecaster(ModelShape.from_config(LLAMA_8B), soc, profile)


@settings(deadline=None)
@given(growth=growths(), beside=batches, on=st.integers(0, 200))
def test_more_work_never_takes_less_time_where_one_call_over_all_was_measured(joined, growth, beside, on):
    check_growth(joined, growth, beside, on)


@settings(deadline=None, max_examples=20)
@given(batch=batches, other=batches)
def test_fewer_cores_never_take_less_time_where_one_call_over_all_was_measured(joined, batch, other):
    check_cores(joined, batch, other)


def test_measured_prompts_and_running_requests_take_what_was_measured(measured, a100_table):
    """What makes times rise moves them by little: medians over the table's rows of the model's heads."""
    for kind, most in (("context", 0.02), ("generation", 0.02)):
        rows = a100_table.parts[kind]
        sizes = rows.sizes
        heads = measured.part.heads, measured.part.kv_heads
        mine = (sizes["heads"] == heads[0]) & (sizes["kv_heads"] == heads[1])
        length = sizes["new" if kind == "context" else "length"]
        errors = []
        for place in np.flatnonzero(mine):
            size, copies = int(length[place]), int(sizes["batch"][place])
            batch = [Request(size, 0, copies) if kind == "context" else Request(1, size - 1, copies)]
            told = measured.forecast(measured.cores, batch).by_operator
            told = told["prefill_attention" if kind == "context" else "decode_attention"] / measured.model.layers
            errors.append(abs(told / rows.seconds[place] - 1.0))
        assert len(errors) > 20
        assert np.median(errors) < most


def test_calls_over_a_prompt_and_running_requests_take_what_was_measured(joined, rtx_table):
    """Few long running requests are told to take less than they were, some others more: docs/forecast.md says why."""
    rows = rtx_table.parts["mixed"]
    errors = []
    for measured, new, cached, running, length in zip(
        rows.seconds, *(rows.sizes[name] for name in ("new", "cached", "sequences", "length")), strict=True
    ):
        if new and running:
            batch = [Request(int(new), int(cached)), Request(1, int(length), int(running))]
            told = joined.forecast(joined.cores, batch).by_operator
            told = (told["prefill_attention"] + told["decode_attention"]) / joined.model.layers
            errors.append(told / measured - 1.0)
    assert len(errors) > 500
    assert np.median(np.abs(errors)) < 0.01
    assert np.mean(np.abs(errors)) < 0.06
    assert np.mean(np.array(errors) > 0.05) < 0.05
