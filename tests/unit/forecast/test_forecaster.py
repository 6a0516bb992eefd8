# SPDX-License-Identifier: Apache-2.0
import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Batch, Forecaster, ForecastError, Request, forecast
from flexnpu.llm import ModelShape

requests = st.builds(Request, st.integers(1, 8192), st.integers(0, 65536), st.integers(1, 64))
batches = st.lists(requests, min_size=1, max_size=8)
cores = st.integers(1, 23)


def test_operators_add_up_to_the_iteration(forecaster):
    result = forecaster.forecast(12, [Request(2048), Request(1, 4096, 8)])
    assert sum(result.by_operator.values()) == pytest.approx(result.seconds)
    assert all(seconds > 0 for seconds in result.by_operator.values())


def overlapped(compute, memory):
    return (compute**2 + memory**2) ** 0.5


def test_a_linear_operator_follows_the_equations(forecaster, b2):
    result = forecaster.forecast(24, [Request(2048)])
    # 2048 x 37888 in 4 x 6 parts, 512 x 6315 each; whole tiles of 16 make that 512 x 6320.
    compute = 28 * 2 * 512 * 6320 * 3584 * 24 / (0.775 * b2.peak_flops)
    memory = 28 * 2 * (2048 * 3584 + 3584 * 37888 + 2048 * 37888) / (0.75 * b2.hbm_bandwidth)
    assert result.by_operator["gate_up"] == pytest.approx(overlapped(compute, memory) + 28 * 3e-6)
    assert result.bound_by["gate_up"] == "compute"


def test_decode_attention_follows_the_equations(forecaster, b2):
    result = forecaster.forecast(24, [Request(1, 4095, 64)])
    memory = 28 * 2 * 64 * (2 * 28 * 1 * 128 + 2 * 4 * 4096 * 128) / (0.75 * b2.hbm_bandwidth)
    # A group of 7 heads is worked on as 16 rows.
    compute = 28 * (4 * 64 * 4096 * 4 * 16 * 128 / (0.45 * b2.peak_flops) + 5e-6)
    assert result.by_operator["decode_attention"] == pytest.approx(overlapped(compute, memory) + 28 * 12.5e-6)
    assert result.bound_by["decode_attention"] == "bandwidth"


def test_prefill_attention_works_block_by_block(forecaster, b2):
    result = forecaster.forecast(24, [Request(4096)])
    blocks, pairs = 28 * 32, 4096 * 4097 / 2 + 4096 * 64
    spread = 28 * pairs * 4 * 128 / (0.45 * b2.peak_flops) + blocks * 5e-6 / 24
    longest = (4096 * 4097) ** 0.5 * 128 * 4 * 128 / (0.45 * b2.peak_flops / 24) + 5e-6
    # A key takes what it takes a running request, whose group of heads is worked on as 16 rows.
    key = overlapped(4 * 4 * 16 * 128 / (0.45 * b2.peak_flops), 2 * 2 * 4 * 128 / (0.75 * b2.hbm_bandwidth))
    memory = 2 * 2 * 4096 * 28 * 128 / (0.75 * b2.hbm_bandwidth) + 4096 * key
    expected = 28 * (overlapped((spread**4 + longest**4) ** 0.25, memory) + 12.5e-6)
    assert result.by_operator["prefill_attention"] == pytest.approx(expected)


def test_attention_of_two_prompts_takes_about_the_sum_of_each(forecaster):
    def attention(*requests):
        return forecaster.forecast(24, requests).by_operator["prefill_attention"] - 28 * 12.5e-6

    prompts = Request(6400, 1000), Request(5120)
    assert attention(*prompts) == pytest.approx(sum(attention(prompt) for prompt in prompts), rel=0.02)


def test_copies_are_that_many_equal_requests(forecaster):
    assert forecaster.alone([Request(1, 777, 5)]) == pytest.approx(forecaster.alone([Request(1, 777)] * 5))


def test_decode_streams_the_weights_once_whatever_the_batch(forecaster, qwen, b2):
    one = forecaster.forecast(24, [Request(1, 0)]).seconds
    met = qwen.weight_bytes - 2 * qwen.vocab * qwen.hidden  # the input embedding is looked up
    assert met / (0.75 * b2.hbm_bandwidth) < one < 1.2 * met / (0.75 * b2.hbm_bandwidth)
    assert forecaster.forecast(24, [Request(1, 0, 8)]).seconds < 1.05 * one


@settings(deadline=None)
@given(batch=batches)
def test_more_cores_are_never_slower(forecaster, batch):
    assert (np.diff(forecaster.alone(batch)) <= 0).all()


@settings(deadline=None)
@given(batch=batches, extra=requests, beside=batches, on=st.integers(1, 12))
def test_more_tokens_are_never_faster_alone_or_beside(forecaster, batch, extra, beside, on):
    other = forecaster.forecast(12, beside)
    for neighbour in (None, other):
        before = forecaster.forecast(on, batch, neighbour).seconds
        assert forecaster.forecast(on, [*batch, extra], neighbour).seconds >= before * (1 - 1e-12)


@settings(deadline=None)
@given(batch=batches, beside=batches, on=cores)
def test_a_neighbour_never_speeds_a_phase_up_nor_halves_it_more_than_bandwidth_can(forecaster, batch, beside, on):
    alone = forecaster.forecast(on, batch).seconds
    next_to = forecaster.forecast(on, batch, forecaster.forecast(24 - on, beside)).seconds
    assert alone * (1 - 1e-12) <= next_to <= 2 * alone


@settings(deadline=None)
@given(batch=batches, beside=batches, on=cores)
def test_the_split_of_all_cores_agrees_with_single_forecasts(forecaster, batch, beside, on):
    prefill, decode = forecaster.split(batch, beside)
    alone = forecaster.forecast(24 - on, batch), forecaster.forecast(on, beside)
    # Beyond 2048 tokens the split reads straight lines between rows, where parts of a matrix jump by a tile.
    assert prefill[on] == pytest.approx(forecaster.forecast(24 - on, batch, alone[1]).seconds, rel=1e-2)
    assert decode[on] == pytest.approx(forecaster.forecast(on, beside, alone[0]).seconds, rel=1e-2)


def test_two_bandwidth_bound_phases_share_what_the_device_has(forecaster):
    decode = [Request(1, 8192, 64)]
    alone = forecaster.forecast(12, decode)
    beside = forecaster.forecast(12, decode, alone)
    # Each wants 71 % of the device's bandwidth and gets half.
    assert beside.seconds / alone.seconds == pytest.approx(2 * 0.714, rel=0.05)


def test_a_compute_bound_neighbour_leaves_decode_alone(forecaster):
    prefill = forecaster.forecast(19, [Request(4096)])
    decode = [Request(1, 2048, 8)]
    assert forecaster.forecast(5, decode, prefill).seconds < 1.02 * forecaster.forecast(5, decode).seconds


def test_an_empty_iteration_takes_no_time(forecaster):
    assert forecaster.forecast(4, []).seconds == 0
    assert forecaster.forecast(4, [Request(8)], beside=forecaster.forecast(4, [])) == forecaster.forecast(
        4, [Request(8)]
    )


def test_far_outside_every_table_the_forecast_stays_finite(forecaster):
    assert 0 < forecaster.forecast(1, [Request(1_000_000, 10_000_000, 1000)]).seconds < 1e15


def test_float32_is_slower_than_bfloat16(b2, qwen_config):
    config = json.loads(qwen_config.read_text())
    wide = ModelShape.from_config(config | {"torch_dtype": "float32"})
    narrow = ModelShape.from_config(config)
    ratio = forecast(wide, b2, 24, [Request(4096)]).seconds / forecast(narrow, b2, 24, [Request(4096)]).seconds
    assert 3.3 < ratio < 4.1


def test_forecasts_are_quick_enough_for_a_decision(forecaster):
    batch = Batch.of([Request(1, 1000 + i) for i in range(256)])
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        forecaster.alone(batch)
        best = min(best, time.perf_counter() - start)
    assert best < 1e-3  # for all core counts; tens of microseconds on an idle machine


@pytest.mark.parametrize("bad", [0, -1, 25, 1.5])
def test_cores_that_the_device_does_not_have_are_refused(forecaster, bad):
    with pytest.raises(ForecastError, match=r"Ascend910B2 has 1 to 24"):
        forecaster.forecast(bad, [Request(1)])


def test_two_phases_on_more_cores_than_there_are_are_refused(forecaster):
    with pytest.raises(ForecastError, match="13 cores beside 12; Ascend910B2 has 24 in all"):
        forecaster.forecast(13, [Request(1)], forecaster.forecast(12, [Request(1)]))


@pytest.mark.parametrize("bad", [Request(0), Request(1, -1), Request(1, 0, 0), Request(float("nan"))])
def test_an_impossible_request_is_refused(forecaster, bad):
    with pytest.raises(ForecastError, match="must be 1 or more"):
        forecaster.alone([Request(5), bad])


def test_a_forecaster_is_for_one_model_on_one_device(qwen, b2):
    assert Forecaster(qwen, b2).forecast(7, [Request(99)]) == forecast(qwen, b2, 7, [Request(99)])
