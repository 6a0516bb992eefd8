# SPDX-License-Identifier: Apache-2.0
"""A profile is of a device, and parts of it of a model: it holds for no other, and says so."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from flexnpu.errors import InvalidValue
from flexnpu.forecast import Forecaster, Load, Profile
from flexnpu.forecast.calibration import fit_rows
from flexnpu.forecast.calibration_file import save
from flexnpu.forecast.command import run_forecast
from flexnpu.forecast.command_table import run_table
from flexnpu.forecast.tables import rows_of
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape


def quiet():
    return Console(file=io.StringIO(), width=200)


def iterations(soc):
    sizes = {"batch": [1.0, 8.0], "length": [100.0, 100.0]}
    return tuple(fit_rows(rows_of("decode", sizes, {"model": ["m"] * 2}, [0.02, 0.03]), soc, scored=False))


def test_a_profile_of_another_device_is_refused(a100, qwen_config):
    with pytest.raises(InvalidValue, match="profile is of A100, the device is H100; give --device A100"):
        Forecaster(ModelShape.from_config(qwen_config), load_soc("H100"), a100[1])


def test_layers_of_another_model_are_left_out_and_it_says_so(rtx, qwen_config):
    soc, profile = rtx
    profile = replace(profile, facts={**profile.facts, "sizes": {"intermediate_size": 1, "num_hidden_layers": 1}})
    told = Forecaster(ModelShape.from_config(qwen_config), soc, profile)
    (first, second) = told.notes
    assert "another model" in first and "intermediate_size 1" in first
    assert "no series of the profile was used" in second
    assert not told.profile.series


def test_a_profile_of_whole_iterations_is_not_called_calibrated(tmp_path, qwen_config):
    soc = load_soc("A100")
    profile = replace(Profile.of(soc), series=iterations(soc), facts={"soc": "A100"})
    told = Forecaster(ModelShape.from_config(qwen_config), soc, profile)
    plain = Forecaster(ModelShape.from_config(qwen_config), soc)
    assert told.seconds(108, Load.decode(8, 800)) == plain.seconds(108, Load.decode(8, 800))
    save(profile, tmp_path / "p.yaml")
    console = quiet()
    run_forecast(qwen_config, "A100", decode=["8x100"], profile=tmp_path / "p.yaml", as_json=True, console=console)
    answer = json.loads(console.file.getvalue())
    assert answer["calibrated"] is False
    assert "no series of the profile was used (it has decode)" in answer["notes"][0]


def test_a_table_is_not_told_by_a_profile_of_another_device(tmp_path):
    save(replace(Profile(), facts={"soc": "A100"}), tmp_path / "p.yaml")
    (tmp_path / "x.csv").write_text("op,m,n,k,dtype,measured_us\ngemm,1,4096,4096,bf16,50\n")
    with pytest.raises(InvalidValue, match="profile is of A100"):
        run_table(tmp_path / "x.csv", "Ascend910B2", profile=tmp_path / "p.yaml", console=quiet())
