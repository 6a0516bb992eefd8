# SPDX-License-Identifier: Apache-2.0
"""OpenAI's API as a client sees it, on one engine of both roles."""

import json

import pytest
from reference_tokens import generate

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]


def test_a_completion_has_openais_shape(single):
    status, answer = single.complete(prompt="abc", max_tokens=5, ignore_eos=True, return_token_ids=False)
    assert status == 200
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    (choice,) = answer["choices"]
    assert set(choice) == {"index", "text", "logprobs", "finish_reason"}
    assert choice["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    models = json.loads(single.ask("GET", "/v1/models")[1])
    assert [model["id"] for model in models["data"]] == [answer["model"]]


def test_text_and_ids_are_the_same_prompt(single, reference):
    tokens = single.tokens(prompt="abc", max_tokens=5, ignore_eos=True)
    assert tokens == single.tokens(prompt=[97, 98, 99], max_tokens=5, ignore_eos=True)
    assert tokens == generate(reference, [97, 98, 99], 5)


def test_a_stream_has_a_chunk_for_each_token_and_says_the_same(single):
    asked = {"prompt": "abc", "max_tokens": 6, "ignore_eos": True, "return_token_ids": True, "return_times": True}
    whole = single.complete(**asked)[1]
    *chunks, closing = single.stream(**asked, stream_options={"include_usage": True})
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["token_ids"] for choice in choices] == [[token] for token in whole["choices"][0]["token_ids"]]
    assert "".join(choice["text"] for choice in choices) == whole["choices"][0]["text"]
    assert [choice["finish_reason"] for choice in choices] == [None] * 5 + ["length"]
    assert closing["choices"] == []
    assert closing["usage"] == whole["usage"]
    times = chunks[-1]["token_times"]
    assert chunks[-1]["arrived"] <= times[0]
    assert times == sorted(times)
    assert len(times) == 6


def test_a_stream_without_usage_has_none(single):
    chunks = single.stream(prompt="abc", max_tokens=2, ignore_eos=True)
    assert len(chunks) == 2
    assert not any("usage" in chunk for chunk in chunks)


def test_a_stream_tells_how_many_tokens_there_are_all_along(single):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = single.stream(prompt="abc", max_tokens=3, ignore_eos=True, stream_options=options)
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [1, 2, 3, 3]


def test_a_chat_answers_as_the_assistant(single):
    status, text = single.ask("POST", CHAT, {"messages": HI, "max_completion_tokens": 4, "ignore_eos": True})
    answer = json.loads(text)
    assert (status, answer["object"]) == (200, "chat.completion")
    message = answer["choices"][0]["message"]
    chunks = single.stream(CHAT, messages=HI, max_tokens=4, ignore_eos=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert [delta.get("role") for delta in deltas] == ["assistant", None, None, None]
    assert message == {"role": "assistant", "content": "".join(delta["content"] for delta in deltas)}


def test_the_models_end_of_text_ends_the_answer_and_is_not_said(single, reference):
    answers = ((number, generate(reference, [number, 7], 40)) for number in range(300))
    number, tokens = next((number, tokens) for number, tokens in answers if 3 in tokens[1:])
    _, answer = single.complete(prompt=[number, 7], max_tokens=100)
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["token_ids"] == tokens[: tokens.index(3) + 1]
    assert not choice["text"].endswith("\x03")


def test_draws_repeat_with_their_seed_and_differ_without(single):
    asked = {"prompt": "abc", "max_tokens": 20, "temperature": 1.0, "ignore_eos": True}
    first, again, other = (single.tokens(**asked, seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert single.tokens(**asked) != single.tokens(**asked)


@pytest.mark.parametrize(
    ("method", "path", "body", "wanted"),
    [
        ("POST", "/v1/completions", {"prompt": "a", "n": 2}, (400, "invalid_request_error")),
        ("POST", "/v1/completions", {"prompt": "a", "model": "gpt"}, (404, "not_found_error")),
        ("POST", "/v1/embeddings", {"input": "a"}, (404, "not_found_error")),
        ("GET", "/nothing", None, (404, "not_found_error")),
        ("PUT", "/v1/completions", {}, (501, "invalid_request_error")),
        ("POST", "/v1/completions", None, (400, "invalid_request_error")),
    ],
)
def test_errors_have_openais_shape(single, method, path, body, wanted):
    got, text = single.ask(method, path, body)
    error = json.loads(text)["error"]
    assert (got, error["type"]) == wanted
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    assert single.complete(prompt="a", max_tokens=1)[0] == 200


def test_metrics_have_vllms_names_and_the_models_name(single):
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:iteration_tokens_total_count",
             "vllm:time_to_first_token_seconds_count", "vllm:inter_token_latency_seconds_count",
             "vllm:time_per_output_token_seconds_count", "vllm:e2e_request_latency_seconds_count")  # fmt: skip
    model = json.loads(single.ask("GET", "/v1/models")[1])["data"][0]["id"]
    before = {name: single.metric(name, model_name=model) for name in names}
    ended = single.metric("vllm:request_success_total", model_name=model, finished_reason="length")
    single.complete(prompt_tokens=100, max_tokens=5, ignore_eos=True)
    grown = [single.metric(name, model_name=model) - before[name] for name in names]
    assert grown == [100, 5, 3 + 4, 1, 4, 4, 1]  # a prompt of 100 in chunks of 40, and four tokens more
    assert single.metric("vllm:request_success_total", model_name=model, finished_reason="length") == ended + 1
    for gauge in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert single.metric(f"vllm:{gauge}", model_name=model) == 0
