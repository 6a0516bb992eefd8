# SPDX-License-Identifier: Apache-2.0
"""flexnpu forecast table, flexnpu calibrate: what they print, write and refuse."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flexnpu.errors import FlexNpuError
from flexnpu.forecast import Forecaster, Load
from flexnpu.forecast.calibration_file import load
from flexnpu.forecast.command_calibrate import run_calibrate, run_measured
from flexnpu.forecast.command_table import run_table
from flexnpu.forecast.tables import TableError
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape

PERF = Path(__file__).parents[2] / "data" / "perf"
OPS = """set,op,m,n,k,batch,q,kv,heads,kv_heads,head_dim,causal,dtype,measured_us
small,attention,,,,1,128,128,8,8,128,1,fp16,20
gemm,gemm,8192,8192,8192,,,,,,,,fp16,4034
gqa,attention,,,,64,1,4096,32,8,128,0,bf16,900
gemm,gemm,1,8192,8192,,,,,,,,fp16,118
"""


def quiet():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def ops(tmp_path):
    file = tmp_path / "ops.csv"
    file.write_text(OPS)
    return file


def test_each_row_gets_its_forecast_in_the_order_of_the_file_and_mape_ends_the_answer(ops):
    console = quiet()
    run_table(ops, "Ascend910B2", as_json=True, console=console)
    answer = json.loads(console.file.getvalue())
    assert [row["set"] for row in answer["rows"]] == ["small", "gemm", "gqa", "gemm"]
    assert [row["row"] for row in answer["rows"]] == [1, 2, 3, 4]
    assert all(row["predicted_us"] > 0 for row in answer["rows"])
    assert list(answer)[-1] == "mape"
    assert set(answer["mape"]) == {"small", "gemm", "gqa"}
    errors = [abs(row["predicted_us"] / row["measured_us"] - 1) for row in answer["rows"] if row["set"] == "gemm"]
    assert answer["mape"]["gemm"] == pytest.approx(100 * np.mean(errors), abs=0.01)


def test_the_anchors_of_the_910b2_are_met_better_than_by_the_vendors_constants(ops):
    answer = run_table(ops, "Ascend910B2", as_json=True, console=quiet())
    for name, most in (("small", 15), ("gemm", 5), ("gqa", 15)):
        assert answer["mape"][name] < most
        assert answer["mape"][name] < answer["vendor_mape"][name]


def test_a_calibrated_profile_forecasts_the_table_that_it_was_not_fitted_to(tmp_path):
    out = tmp_path / "p.yaml"
    run_calibrate([PERF / "aiconfigurator_a100"], check=0.5, seed=3, out=out, console=quiet())
    for name in ("gemm", "context_attention", "generation_attention"):
        answer = run_table(PERF / "aiconfigurator_a100" / f"{name}_perf.csv", "A100", profile=out, console=quiet())
        assert max(answer["mape"].values()) < 8


def test_calibrate_tells_the_error_on_what_was_left_out(tmp_path):
    console = quiet()
    run_calibrate([PERF / "aiconfigurator_a100"], check=0.5, as_json=True, console=console)
    answer = json.loads(console.file.getvalue())
    assert answer["soc"] == "A100"
    assert {each["kind"] for each in answer["series"]} == {"gemm", "context", "generation"}
    assert all(each["mape"] < 8 for each in answer["series"])


def test_a_table_and_its_errors_are_shown(ops):
    console = quiet()
    run_table(ops, console=console)
    assert "gqa" in console.file.getvalue() and "vendor" in console.file.getvalue()


@pytest.mark.parametrize("check", [0.0, 1.0, -1.0])
def test_a_part_that_is_none_or_all_is_refused(check):
    with pytest.raises(TableError, match="between 0 and 1"):
        run_calibrate([PERF / "aiconfigurator_a100"], check=check, console=quiet())


def test_a_table_without_a_device_asks_for_one(ops, tmp_path):
    with pytest.raises(TableError, match="give --device"):
        run_calibrate([ops], console=quiet())
    out = tmp_path / "p.yaml"
    run_calibrate([ops], "Ascend910B2", out=out, console=quiet())
    assert load(out).facts["soc"] == "Ascend910B2"
    answer = run_table(ops, profile=out, console=quiet())
    assert max(answer["mape"].values()) < 1  # it has seen these rows


def test_whole_iterations_are_not_operators(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text(
        "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel\n"
        "llama2-70b,h100,512,2,128,160,37,4\n"
    )
    with pytest.raises(FlexNpuError, match="are not operators"):
        run_table(file, console=quiet())


def live_answer(bend_compute=0.3, bend_memory=0.8):
    cores = [6, 12, 18, 24]

    def seconds(base, bend):
        return [base / (x * (1 + bend * (1 - x))) for x in (count / 24 for count in cores)]

    sizes = {"batch": 8, "length": 2048, "heads": 32, "kv_heads": 8, "head_dim": 128}
    large, row = {"m": 4096, "n": 4096, "k": 4096}, {"m": 1, "n": 4096, "k": 4096}
    computing, streaming = seconds(5e-4, bend_compute), seconds(3e-5, bend_memory)
    rows = [
        {"name": "a", "op": "gemm", "bound": "compute", "sizes": large, "seconds": computing},
        {"name": "b", "op": "gemm", "bound": "memory", "sizes": row, "seconds": streaming},
        {"name": "c", "op": "generation", "bound": "memory", "sizes": sizes, "seconds": streaming},
    ]
    return {"soc": "Ascend910B2", "cores": cores, "rows": rows, "modelled": True}


def test_curves_over_cores_come_from_a_device_and_say_whether_it_was_modelled(tmp_path):
    console, out = quiet(), tmp_path / "p.yaml"
    profile = run_measured(live_answer(), out=out, console=console)
    assert profile.compute_bend == pytest.approx(0.3)
    assert profile.bandwidth_bend == pytest.approx(0.8)
    assert "modelled by the software NPU, not measured" in console.file.getvalue()
    assert load(out).facts["modelled"] is True


def test_an_answer_without_rows_is_refused():
    with pytest.raises(TableError, match="no rows"):
        run_measured({"soc": "Ascend910B2", "cores": [24], "rows": []}, console=quiet())


@pytest.mark.filterwarnings("error")
def test_what_no_constants_can_tell_is_null_in_the_json_and_warns_of_nothing(tmp_path):
    out, console = tmp_path / "p.yaml", quiet()
    folder = PERF / "llmservingsim_rtx4090"
    run_calibrate([folder], out=out, console=quiet())
    run_table(folder, "RTX4090", profile=out, as_json=True, console=console)
    answer = json.loads(console.file.getvalue(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert set(answer["vendor_mape"].values()) == {None}
    assert all(value > 0 for value in answer["mape"].values())
    run_table(folder, "RTX4090", profile=out, console=quiet())


def test_a_single_row_has_no_half_to_check_and_no_error_to_tell(tmp_path):
    (tmp_path / "one.csv").write_text("op,m,n,k,dtype,measured_us\ngemm,1,4096,4096,bf16,30\n")
    with pytest.raises(TableError, match="leaves no shape to fit on"):
        run_calibrate([tmp_path / "one.csv"], "Ascend910B2", check=0.5, console=quiet())
    console = quiet()
    run_calibrate([tmp_path / "one.csv"], "Ascend910B2", console=console)
    assert "nan" not in console.file.getvalue() and "unknown" in console.file.getvalue()


def test_one_more_running_request_never_shortens_an_iteration_after_a_live_calibration(qwen_config):
    soc = load_soc("Ascend910B2")
    told = Forecaster(ModelShape.from_config(qwen_config), soc, run_measured(live_answer(), console=quiet()))
    times = [told.seconds(13, Load.decode(count, count * 17)) for count in (*range(1, 300), *range(1020, 1030))]
    assert (np.diff(times) >= -1e-12).all()
