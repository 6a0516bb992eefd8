# SPDX-License-Identifier: Apache-2.0
"""Two processes, end to end over HTTP."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest
import torch
from engine_pair import Pair
from pd_serving.weights import read_config
from transformers import Qwen2ForCausalLM


def reference_tokens(config, prompt, count):
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(read_config(config)).eval()
    with torch.no_grad():
        ids = torch.tensor([prompt])
        out = model.generate(
            ids,
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            eos_token_id=None,
            attention_mask=torch.ones_like(ids),
        )
    return out[0, len(prompt) :].tolist()


def test_answers_are_those_of_one_process(pair, tiny_config):
    prompts = [[(7 * n + i) % 211 for i in range(3 + 29 * n)] for n in range(9)]
    with ThreadPoolExecutor(len(prompts)) as pool:
        answers = list(pool.map(lambda p: pair.complete(prompt_token_ids=p, max_tokens=9, ignore_eos=True), prompts))
    for prompt, (status, answer) in zip(prompts, answers, strict=True):
        assert status == 200
        assert answer["choices"][0]["token_ids"] == reference_tokens(tiny_config, prompt, 9)
        times = answer["token_times"]
        assert answer["arrived"] <= times[0]
        assert times == sorted(times)
        assert len(times) == 9


def test_a_stream_has_a_line_per_token(pair):
    status, text = pair.ask(
        "POST", "/v1/completions", {"prompt_tokens": 5, "max_tokens": 4, "stream": True, "ignore_eos": True}
    )
    *tokens, last = [json.loads(line) for line in text.splitlines()]
    assert status == 200
    assert [each["token"] for each in tokens] == last["choices"][0]["token_ids"]
    assert [each["time"] for each in tokens] == last["token_times"]


def test_metrics_have_vllms_names(pair):
    pair.complete(prompt_tokens=10, max_tokens=5, ignore_eos=True)
    prefill = pair.ask("GET", "/metrics")[1]
    decode = pair.ask("GET", "/metrics", port=pair.decode_port)[1]
    assert "vllm:prompt_tokens_total 10.0" in prefill
    assert "vllm:time_to_first_token_seconds_count 1.0" in prefill
    assert "pd:waiting_prompt_tokens 0.0" in prefill
    assert "vllm:generation_tokens_total 4.0" in decode
    assert "vllm:inter_token_latency_seconds_count 4.0" in decode
    assert "pd:running_context_tokens 0.0" in decode


def test_bad_requests_do_not_stop_it(pair):
    assert pair.complete(prompt_tokens=0)[0] == 400
    assert pair.ask("POST", "/v1/completions", port=pair.decode_port, body={"prompt_tokens": 1})[0] == 400
    assert pair.ask("GET", "/nothing")[0] == 404
    assert pair.complete(prompt_tokens=1, max_tokens=1)[0] == 200


def test_more_requests_than_slots_and_blocks_are_all_served(tmp_path, tiny_config):
    pair = Pair(tmp_path, tiny_config, "--slots", "1", "--cache-blocks", "5", "--max-batch", "2")
    try:
        with ThreadPoolExecutor(12) as pool:
            answers = list(
                pool.map(lambda n: pair.complete(prompt_tokens=n, max_tokens=150, ignore_eos=True), range(20, 32))
            )
        assert [status for status, _ in answers] == [200] * 12
        assert "vllm:kv_cache_usage_perc 0.0" in pair.ask("GET", "/metrics", port=pair.decode_port)[1]
    finally:
        pair.stop()


def test_sigterm_ends_both_cleanly(pair):
    pair.complete(prompt_tokens=3, max_tokens=3)
    assert pair.stop() == [0, 0]
    assert not pair.link.exists()


def shared_memory():
    return {path for path in Path("/dev/shm").iterdir() if "pd-serving" in path.name}


def long_request(pair, answers):
    answers.append(pair.complete(prompt_tokens=20, max_tokens=400, ignore_eos=True))


def until_decoding(pair):
    deadline = time.monotonic() + 30
    while "vllm:num_requests_running 1.0" not in pair.ask("GET", "/metrics", port=pair.decode_port)[1]:
        assert time.monotonic() < deadline


def test_a_killed_decode_is_noticed(pair):
    answers = []
    asking = threading.Thread(target=long_request, args=(pair, answers))
    asking.start()
    until_decoding(pair)
    pair.decode.kill()
    asking.join(timeout=30)
    assert answers[0][0] == 503
    assert "decode" in answers[0][1]["error"]["message"]
    assert pair.prefill.wait(timeout=30) == 1
    assert "decode instance" in pair.log.read_text().splitlines()[-1]
    assert not shared_memory()


@pytest.mark.timeout(120)
def test_decode_serves_the_next_prefill_after_a_killed_one(pair, tiny_config):

    def ask_in_vain():
        with suppress(OSError, HTTPException):
            long_request(pair, [])

    asking = threading.Thread(target=ask_in_vain)
    asking.start()
    until_decoding(pair)
    pair.prefill.kill()
    asking.join(timeout=30)
    pair.prefill, pair.prefill_port = pair.start("prefill")
    pair.until_ready()
    prompt = list(range(40))
    status, answer = pair.complete(prompt_token_ids=prompt, max_tokens=6, ignore_eos=True)
    assert status == 200
    assert answer["choices"][0]["token_ids"] == reference_tokens(tiny_config, prompt, 6)
