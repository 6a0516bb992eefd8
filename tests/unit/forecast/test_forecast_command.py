# SPDX-License-Identifier: Apache-2.0
import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flexnpu.cli.main import app
from flexnpu.forecast import ForecastError, Request
from flexnpu.forecast.command import parse_decode, parse_prefill, run_forecast
from flexnpu.hardware import SpecError
from flexnpu.llm import ModelError, Parallel


def shown(model, **options):
    text = io.StringIO()
    run_forecast(model, console=Console(file=text, width=120), **options)
    return text.getvalue()


def test_the_table_has_every_operator_and_says_what_it_is(qwen_config):
    text = shown(qwen_config, cores=12, prefill=["2048"], decode=["64x4096"])
    assert all(name in text for name in ("gate_up", "decode_attention", "lm_head", "iteration", "12 of 24 cores"))
    assert "not a measurement" in text


def test_the_json_has_the_same_numbers(qwen_config):
    told = json.loads(shown(qwen_config, cores=12, decode=["64x4096"], as_json=True))
    assert told["soc"] == "Ascend910B2"
    assert told["seconds"] == pytest.approx(sum(row["seconds"] for row in told["operators"].values()))


def test_the_json_says_what_each_of_several_devices_has_and_how_sure_it_is():
    options = {"device": "Ascend910_9391", "decode": ["64x2048"], "as_json": True, "weight_dtype": "int8"}
    told = json.loads(shown("DeepSeek-R1", parallel=Parallel(1, 64), kv_dtype="int8", **options))
    assert (told["expert_parallel"], told["weight_dtype"], told["kv_dtype"]) == (64, "int8", "int8")
    assert told["kv_bytes_per_token"] == 61 * 576
    assert 25e9 < told["weight_bytes"] < 31e9
    assert 0 < told["uncertainty"] < 1
    assert {"experts_gate_up", "q_absorb", "dispatch", "combine"} <= set(told["operators"])
    assert told["operators"]["combine"]["bound_by"] == "links"


def test_the_command_takes_degrees_and_formats():
    asked = ["forecast", "--model", "Qwen3-14B", "--decode", "8x100", "--json"]
    one = json.loads(CliRunner().invoke(app, asked).stdout)
    four = json.loads(CliRunner().invoke(app, [*asked, "--tensor-parallel", "4", "--weight-dtype", "int8"]).stdout)
    assert four["weight_bytes"] < one["weight_bytes"] / 7
    assert "all_reduce" in four["operators"]
    refused = CliRunner().invoke(app, [*asked, "--tensor-parallel", "3"])
    assert isinstance(refused.exception, ModelError)


def test_decode_beside_prefill_is_slower_than_alone(qwen_config):
    options = {"cores": 12, "decode": ["64x4096"], "as_json": True}
    alone = json.loads(shown(qwen_config, **options))
    beside = json.loads(shown(qwen_config, prefill=["64"], beside_cores=12, **options))
    assert beside["seconds"] > alone["seconds"]


def test_amounts_are_read_as_written():
    assert parse_prefill("2048") == Request(2048)
    assert parse_prefill("4x512+1536") == Request(512, 1536, 4)
    assert parse_decode("64x4096") == Request(1, 4096, 64)


@pytest.mark.parametrize("text", ["", "x", "-5", "3x", "0x5", "1e9"])
def test_an_amount_that_cannot_be_read_is_refused(text):
    with pytest.raises(ForecastError, match="must be"):
        parse_prefill(text)


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({}, ForecastError, "nothing to forecast"),
        ({"prefill": ["1"], "cores": 99}, ForecastError, "cores is 99"),
        ({"prefill": ["1"], "device": "Ascend1"}, SpecError, "'Ascend1' is not known"),
        ({"prefill": ["1"], "beside_cores": 3}, ForecastError, "give both"),
    ],
)
def test_a_question_without_an_answer_is_refused(qwen_config, options, error, complaint):
    with pytest.raises(error, match=complaint):
        shown(qwen_config, **options)


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is no file, and no model that ships"):
        shown(tmp_path / "config.json", prefill=["1"])


def test_an_amount_of_thousands_of_digits_is_refused():
    with pytest.raises(ForecastError, match="over 12 digits"):
        parse_prefill("9" * 5000)


def test_weights_that_the_device_cannot_hold_are_told(qwen_config):
    told = json.loads(shown("DeepSeek-R1", decode=["8x100"], as_json=True))
    assert told["weights_fit"] is False
    assert "do not fit into" in told["notes"][0]
    assert "do not fit into" in shown("DeepSeek-R1", decode=["8x100"]).replace("\n", " ")
    assert json.loads(shown(qwen_config, decode=["8x100"], as_json=True))["weights_fit"] is True
