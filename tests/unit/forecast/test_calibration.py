# SPDX-License-Identifier: Apache-2.0
"""A calibration is a function of a table: right on shapes it has not seen, monotone, and sane outside."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Forecaster, Load, Request
from flexnpu.forecast.calibration import evaluate, fit_rows, predict, score, split
from flexnpu.forecast.calibration_grid import axes_of, rising_medians
from flexnpu.forecast.calibration_joined import added
from flexnpu.forecast.calibration_profile import calibrate, device_of
from flexnpu.forecast.calibration_rows import seconds_of
from flexnpu.forecast.calibration_series import AXES
from flexnpu.forecast.operators import OperatorModel
from flexnpu.forecast.tables import Table, TableError, rows_of
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape

LLAMA_8B = Path(__file__).parents[2] / "data" / "models" / "llama-3.1-8b.json"


def whole(scores, kind):
    (found,) = [each for each in scores if each.kind == kind and not each.labels]
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_half_of_a_table_forecasts_the_other_half(a100_table, seed):
    scores = evaluate(a100_table, load_soc("A100"), seed=seed)
    assert whole(scores, "gemm").mape < 0.08
    assert whole(scores, "context").mape < 0.06
    assert whole(scores, "generation").mape < 0.07


def test_calls_over_prompts_and_running_requests_are_forecast_from_half_of_a_thinned_grid(rtx_table):
    scores = evaluate(rtx_table, load_soc("RTX4090"), seed=1)
    assert whole(scores, "mixed").mape < 0.09  # the whole table, with twice as many knots per size, is under 0.05
    assert whole(scores, "layer").mape < 0.1


def test_a_split_is_by_shape_and_seeded(a100_table):
    rows = a100_table.parts["gemm"]
    twice = rows.joined(rows)
    first, second = split(twice, seed=7)
    shapes = [set(zip(*(part.sizes[name] for name in "mnk"), strict=True)) for part in (first, second)]
    assert not shapes[0] & shapes[1]
    assert len(first) + len(second) == len(twice)
    assert 0.4 < len(first) / len(twice) < 0.6
    assert split(twice, seed=7)[0].seconds.tolist() == first.seconds.tolist()
    assert split(twice, seed=8)[0].seconds.tolist() != first.seconds.tolist()


def test_whole_matrices_that_were_left_out_are_forecast(a100_table):
    soc, rows = load_soc("A100"), a100_table.parts["gemm"]
    pairs = rows.sizes["n"] * 1e6 + rows.sizes["k"]
    left = np.isin(pairs, np.random.default_rng(0).permutation(np.unique(pairs))[:8])
    (total,) = score(fit_rows(rows.take(~left), soc, scored=False), rows.take(left), soc)
    assert total.mape < 0.15


def test_the_same_table_gives_the_same_profile(a100_table):
    rows, soc = a100_table.parts["generation"], load_soc("A100")
    first, second = (fit_rows(rows, soc) for _ in range(2))
    assert first[0].surface.log_values.tolist() == second[0].surface.log_values.tolist()
    assert first[0].mape == second[0].mape


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_a_handful_of_rows_is_a_table_too(a100_table, count):
    soc, rows = load_soc("A100"), a100_table.parts["gemm"]
    few = rows.take(np.random.default_rng(count).permutation(len(rows))[:count])
    told = predict(fit_rows(few, soc), rows, soc)
    assert (told > 0).all() and np.isfinite(told).all()
    assert np.abs(predict(fit_rows(few, soc), few, soc) / few.seconds - 1).mean() < 0.15


def test_sizes_that_lie_on_no_grid_are_fitted():
    rng, soc = np.random.default_rng(0), load_soc("A100")
    sizes = {
        name: np.round(np.exp(rng.uniform(np.log(low), np.log(8192), 3000)))
        for name, low in zip("mnk", (1, 256, 256), strict=True)
    }
    seconds = 3e-6 + 2 * sizes["m"] * sizes["n"] * sizes["k"] / 2e14 + 2 * sizes["n"] * sizes["k"] / 1.6e12
    rows = rows_of("gemm", sizes, {"dtype": ["bf16"] * 3000}, seconds)
    known, left = split(rows, 0)
    (total,) = score(fit_rows(known, soc, scored=False), left, soc)
    assert total.mape < 0.05


@settings(deadline=None, max_examples=60)
@given(
    m=st.integers(1, 10**6), more=st.integers(1, 10**5), cores=st.integers(1, 107), n=st.sampled_from([512, 4096, 6000])
)
def test_products_rise_with_tokens_and_fall_with_cores(a100, m, more, cores, n):
    soc, profile = a100
    model = OperatorModel(soc, profile)

    def seconds(tokens, on):
        return model.seconds(model.gemm(float(tokens), n, 4096, "bf16", on))

    assert seconds(m + more, cores) >= seconds(m, cores) * (1 - 1e-9)
    assert seconds(m, cores + 1) <= seconds(m, cores) * (1 + 1e-9)


loads = st.builds(
    lambda prompts, running: sum(
        [*(Load.prefill(new, cached) for new, cached in prompts), *(Load.decode(1, seen) for seen in running)], Load()
    ),
    st.lists(st.tuples(st.integers(2, 8192), st.integers(0, 20000)), max_size=4),
    st.lists(st.integers(1, 50000), max_size=64),
)


@pytest.fixture(scope="session")
def measured(a100):
    soc, profile = a100
    return Forecaster(ModelShape.from_config(LLAMA_8B), soc, profile)


@pytest.fixture(scope="session")
def recorded(rtx):
    soc, profile = rtx
    return Forecaster(ModelShape.from_config(LLAMA_8B), soc, profile)


@settings(deadline=None, max_examples=80)
@given(load=loads, new=st.integers(1, 4000), cached=st.integers(0, 20000), on=st.sampled_from([30, 60, 108]))
def test_one_more_request_never_shortens_a_measured_iteration(measured, load, new, cached, on):
    extra = Load.decode(1, cached + 1) if new == 1 else Load.prefill(new, cached)
    assert measured.seconds(on, load.plus(extra)) >= measured.seconds(on, load) * (1 - 1e-6)


@settings(deadline=None, max_examples=60)
@given(load=loads)
def test_more_cores_never_lengthen_a_measured_iteration(measured, load):
    assert (np.diff(measured.alone(load)) <= 1e-12).all()


@settings(deadline=None, max_examples=60)
@given(load=loads, cached=st.integers(0, 20000))
def test_one_more_running_request_never_shortens_a_mixed_call(recorded, load, cached):
    more = load.plus(Load.decode(1, cached + 1))
    cores = recorded.cores
    assert recorded.seconds(cores, more) >= recorded.seconds(cores, load) * (1 - 1e-6)


def test_far_outside_the_table_times_stay_in_proportion(measured):
    cores = measured.cores
    one, ten = (measured.seconds(cores, Load.prefill(new)) for new in (100_000, 1_000_000))
    assert 50 < ten / one < 130  # attention grows with the square
    one, ten = (measured.seconds(cores, Load.decode(512, seen)) for seen in (1e8, 1e9))
    assert 5 < ten / one < 11
    assert 0 < measured.seconds(cores, Load.prefill(1e7, 1e7)) < 1e9


def test_decode_of_the_recorded_engine_takes_what_was_recorded(recorded):
    """32 requests of 1,280 tokens: 25.2 ms an iteration in the recording (its seconds without prompts)."""
    assert recorded.seconds(recorded.cores, Load.decode(32, 41000)) == pytest.approx(25.2e-3, rel=0.05)


def test_uncertainty_is_what_was_left_out(a100, measured):
    profile = a100[1]
    assert 0.02 < profile.uncertainty["gemm"] < 0.15
    told = measured.forecast(measured.cores, Load.prefill(1024))
    assert 0.01 < told.uncertainty < 0.3


def test_the_device_is_told_by_the_table_or_asked_for(a100_table):
    assert device_of(a100_table).name == "A100"
    with pytest.raises(TableError, match="give --device"):
        device_of(Table("ops", a100_table.parts, {}))
    with pytest.raises(TableError, match="'Mystery 9000', which is not known"):
        device_of(Table("ops", a100_table.parts, {"device": "Mystery 9000"}))


def test_rows_that_cannot_be_true_change_nothing_and_are_told(a100_table):
    soc, rows = load_soc("A100"), a100_table.parts["gemm"]
    wrong = rows.take(np.arange(20))
    wrong = replace(wrong, seconds=np.full(20, 1e-12))
    clean = calibrate(Table("ops", {"gemm": rows}), soc, scored=False)
    dirty = calibrate(Table("ops", {"gemm": rows.joined(wrong)}), soc, scored=False)
    assert dirty.series[0].surface.log_values.tolist() == clean.series[0].surface.log_values.tolist()
    assert "20 rows rejected" in str(dirty.facts["rejected"])


def test_a_format_that_was_not_measured_is_forecast_from_the_data_sheet(a100, a100_table):
    soc, profile = a100
    rows = a100_table.parts["gemm"].take(np.arange(5))
    wide = replace(rows, labels={**rows.labels, "dtype": np.full(5, "fp32")})
    assert seconds_of(wide, soc, profile).tolist() == pytest.approx(
        seconds_of(wide, soc, profile.without_series()).tolist()
    )


def test_a_cache_in_another_format_is_read_in_less_time_and_changes_no_prompt(a100, qwen_config):
    soc, profile = a100
    wide, narrow = (Forecaster(ModelShape.from_config(qwen_config, kv=kv), soc, profile) for kv in ("bf16", "int8"))

    def ratio(operator, *requests):
        one, other = (each.forecast(soc.cores, requests).by_operator[operator] for each in (narrow, wide))
        return one / other

    assert ratio("prefill_attention", Request(2048)) == pytest.approx(1.0, rel=1e-3)
    assert 0.4 < ratio("decode_attention", Request(2048), Request(1, 8192, 64)) < 0.8


def test_kernels_of_one_format_make_a_series_each_and_one_together():
    soc = load_soc("A100")
    m = np.tile(2.0 ** np.arange(10), 2)
    kernel = np.repeat(["quick", "slow"], 10)
    seconds = np.where(kernel == "quick", 1.0, 2.0) * (5e-6 + m * 1e-7)
    sizes = {"m": m, "n": np.full(20, 1024.0), "k": np.full(20, 1024.0)}
    series = fit_rows(rows_of("gemm", sizes, {"dtype": ["bf16"] * 20, "kernel": kernel}, seconds), soc)
    assert [one.labels["kernel"] for one in series] == ["quick", "slow", ""]
    asked = rows_of(
        "gemm", {name: column[:10] for name, column in sizes.items()}, {"dtype": ["bf16"] * 10}, np.ones(10)
    )
    told = predict(series, asked, soc)
    assert (told > seconds[:10]).all() and (told < seconds[10:]).all()


def test_the_order_of_rows_changes_no_calibration(a100_table):
    rows, soc = a100_table.parts["generation"], load_soc("A100")
    mixed = rows.take(np.random.default_rng(5).permutation(len(rows)))
    first, second = fit_rows(rows, soc), fit_rows(mixed, soc)
    assert first[0].surface.log_values.tolist() == second[0].surface.log_values.tolist()
    assert (first[0].mape, first[0].roofline) == (second[0].mape, second[0].roofline)


def test_a_line_of_medians_rises_and_no_rising_line_is_nearer():
    rng = np.random.default_rng(0)
    for _ in range(20):
        line, weights = rng.integers(1, 9, 5).astype(float), rng.integers(1, 9, 5).astype(float)
        found = rising_medians(line[None], 1, weights[None])[0]
        assert (np.diff(found) >= 0).all()
        # Some best line has no other values than the line itself.
        least = min(weights @ np.abs(each - line) for each in combinations_with_replacement(sorted(set(line)), 5))
        assert weights @ np.abs(found - line) == pytest.approx(least)


def test_what_a_prompt_and_what_running_requests_take_is_told_apart():
    """By two thirds of the calls: the others are sums, too."""
    sizes = np.meshgrid([16.0, 64.0, 256.0], [0.0, 128.0], [1.0, 8.0, 64.0], [16.0, 1024.0], indexing="ij")
    axes = axes_of(AXES["mixed"], [each.reshape(-1) for each in sizes])
    new, cached, sequences, length = sizes
    whole = 1e-5 + 1e-7 * new * (1.0 + cached / 500.0) + 1e-9 * sequences * length**1.1
    some = np.random.default_rng(0).permutation(whole.size)[: 2 * whole.size // 3]
    columns = {name: each.reshape(-1)[some] for name, each in zip(AXES["mixed"], sizes, strict=True)}
    rows = rows_of("mixed", columns, {}, whole.reshape(-1)[some])
    assert np.exp(added(rows, axes)) == pytest.approx(whole, rel=1e-3)


def test_running_requests_without_a_prompt_are_a_kernel_of_their_own(rtx_table):
    """Many take a small part of the time that they take beside the shortest prompt; half of them tell the others."""
    soc = device_of(rtx_table)
    known, left = split(rtx_table.parts["mixed"], 0)
    left = left.take(left.sizes["new"] == 0)
    told = predict(fit_rows(known, soc, scored=False), left, soc)
    assert len(left) > 10
    assert np.abs(told / left.seconds - 1.0).mean() < 0.15
