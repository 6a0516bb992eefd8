# SPDX-License-Identifier: Apache-2.0
import io
import json

import pytest
from rich.console import Console

from flexnpu.forecast import ForecastError, Request
from flexnpu.forecast.command import parse_decode, parse_prefill, run_forecast
from flexnpu.hardware import SpecError
from flexnpu.llm import ModelError


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
