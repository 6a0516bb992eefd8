# SPDX-License-Identifier: Apache-2.0
"""What a table does not say is what the constants say, and never under what the device can do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flexnpu.forecast import Forecaster, Load
from flexnpu.forecast.calibration import fit_rows, predict
from flexnpu.forecast.calibration_profile import calibrate
from flexnpu.forecast.tables import Table, least_seconds, rows_of
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape

LLAMA_8B = ModelShape.from_config(Path(__file__).parents[2] / "data" / "models" / "llama-3.1-8b.json")


def one_row(kind, microseconds, **sizes):
    labels = {"dtype": ["bf16"], "kv_dtype": ["bf16"]}
    rows = rows_of(kind, {name: [float(size)] for name, size in sizes.items()}, labels, [microseconds * 1e-6])
    return Table("ops", {kind: rows})


@pytest.mark.parametrize(
    ("kind", "size", "most"), [("context", "new", 128), ("gemm", "m", 1), ("generation", "length", 64)]
)
def test_small_shapes_alone_do_not_forecast_large_ones_under_the_limit(a100_table, kind, size, most):
    soc, rows = load_soc("A100"), a100_table.parts[kind]
    small = rows.sizes[size] <= most
    left = rows.take(~small)
    told = predict(fit_rows(rows.take(small), soc, scored=False), left, soc)
    assert (told >= least_seconds(left, soc) * (1 - 1e-9)).all()
    assert np.abs(told / left.seconds - 1.0).mean() < 0.6


@pytest.mark.parametrize(
    ("table", "load"),
    [
        (one_row("gemm", 30, m=1, n=4096, k=4096), Load.prefill(4096)),
        (one_row("gemm", 300, m=4096, n=1024, k=4096), Load.decode(1, 4096)),
        (
            one_row("generation", 30, batch=1, length=128, heads=32, kv_heads=8, head_dim=128, window=0),
            Load.decode(64, 64 * 4097),
        ),
    ],
)
def test_one_shape_leaves_a_forecast_near_the_data_sheet(table, load):
    soc = load_soc("Ascend910B2")
    told = Forecaster(LLAMA_8B, soc, calibrate(table, soc)).seconds(soc.cores, load)
    assert told == pytest.approx(Forecaster(LLAMA_8B, soc).seconds(soc.cores, load), rel=0.6)


def test_cached_keys_that_no_row_has_seen_are_still_read(a100):
    soc, profile = a100
    told = Forecaster(LLAMA_8B, soc, profile)
    load = sum([Load.prefill(2, 100_000) for _ in range(8)], Load())
    read = 32 * 4 * 8 * 128 * load.prefill_seen / soc.hbm_bandwidth
    assert told.forecast(soc.cores, load).by_operator["prefill_attention"] >= read
    assert told.seconds(soc.cores, load) >= read
