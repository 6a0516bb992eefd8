# SPDX-License-Identifier: Apache-2.0
"""Two processes, end to end over HTTP."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest
from engine_pair import Pair
from reference_tokens import generate, prompts


def test_a_pair_gives_the_tokens_of_a_single_engine_and_of_transformers(pair, single, reference):
    asked = prompts(9)
    with ThreadPoolExecutor(2 * len(asked)) as pool:
        of_pair = pool.map(lambda p: pair.tokens(prompt=p, max_tokens=9, ignore_eos=True), asked)
        of_single = pool.map(lambda p: single.tokens(prompt=p, max_tokens=9, ignore_eos=True), asked)
        tokens = list(of_pair)
        assert tokens == list(of_single)
    assert tokens == [generate(reference, prompt, 9) for prompt in asked]


def test_a_drawn_answer_is_the_same_from_a_pair_and_from_a_single_engine(pair, single):
    fields = {"prompt": "What next?", "max_tokens": 30, "temperature": 0.9, "top_p": 0.95, "ignore_eos": True}
    answers = [engine.tokens(**fields, seed=seed) for engine in (pair, single) for seed in (1, 2)]
    assert answers[:2] == answers[2:]
    assert answers[0] != answers[1]


def test_a_stop_string_ends_the_answer_in_both_instances(pair):
    text = pair.complete(prompt="abc", max_tokens=40, ignore_eos=True)[1]["choices"][0]["text"]
    stop = text[8:10]
    before = pair.metric("vllm:request_success_total", finished_reason="stop")
    status, answer = pair.complete(prompt="abc", max_tokens=400, ignore_eos=True, stop=stop)
    assert status == 200
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["text"] == text[: text.index(stop)]
    assert answer["usage"]["completion_tokens"] < 20
    assert pair.metric("vllm:request_success_total", finished_reason="stop") == before + 1
    pair.until("vllm:kv_cache_usage_perc", 0, pair.decode_port)


def test_metrics_of_the_two_say_what_each_did(own_pair):
    pair = own_pair
    pair.complete(prompt_tokens=10, max_tokens=5, ignore_eos=True)
    assert pair.metric("vllm:prompt_tokens_total") == 10
    assert pair.metric("vllm:time_to_first_token_seconds_count") == 1
    assert pair.metric("vllm:e2e_request_latency_seconds_count") == 1
    assert pair.metric("pd:waiting_prompt_tokens") == 0
    decode = pair.decode_port
    assert pair.metric("vllm:generation_tokens_total", decode) == 4
    assert pair.metric("vllm:inter_token_latency_seconds_count", decode) == 4
    assert pair.metric("pd:running_context_tokens", decode) == 0
    assert pair.ask("POST", "/v1/completions", port=decode, body={"prompt_tokens": 1})[0] == 400
    assert pair.complete(prompt_tokens=1, max_tokens=1)[0] == 200
    assert pair.stop() == [0, 0]
    assert not pair.link.exists()


def test_more_requests_than_slots_and_blocks_are_all_served(tmp_path, tiny_config):
    with Pair(tmp_path, tiny_config, "--slots", "1", "--cache-blocks", "5", "--max-batch", "2") as pair:
        with ThreadPoolExecutor(12) as pool:
            answers = pool.map(lambda n: pair.complete(prompt_tokens=n, max_tokens=150, ignore_eos=True), range(20, 32))
            assert [status for status, _ in answers] == [200] * 12
        for port in (pair.port, pair.decode_port):
            assert pair.metric("vllm:kv_cache_usage_perc", port) == 0


def shared_memory():
    return {path for path in Path("/dev/shm").iterdir() if "pd-serving" in path.name}


def long_request(pair, answers):
    answers.append(pair.complete(prompt_tokens=20, max_tokens=400, ignore_eos=True))


def test_a_killed_decode_is_noticed(own_pair):
    answers = []
    asking = threading.Thread(target=long_request, args=(own_pair, answers))
    asking.start()
    own_pair.until("vllm:num_requests_running", 1, own_pair.decode_port)
    own_pair.decode.kill()
    asking.join(timeout=30)
    assert answers[0][0] == 503
    assert "decode" in answers[0][1]["error"]["message"]
    assert own_pair.prefill.wait(timeout=30) == 1
    assert "decode instance" in own_pair.log.read_text().splitlines()[-1]
    assert not shared_memory()


@pytest.mark.timeout(120)
def test_decode_serves_the_next_prefill_after_a_killed_one(own_pair, reference):
    pair = own_pair

    def ask_in_vain():
        with suppress(OSError, HTTPException):
            long_request(pair, [])

    asking = threading.Thread(target=ask_in_vain)
    asking.start()
    pair.until("vllm:num_requests_running", 1, pair.decode_port)
    pair.prefill.kill()
    asking.join(timeout=30)
    pair.prefill, pair.port = pair.listening(pair.begin("prefill"))
    pair.until_ready()
    prompt = list(range(40))
    assert pair.tokens(prompt=prompt, max_tokens=6, ignore_eos=True) == generate(reference, prompt, 6)
    assert pair.metric("vllm:kv_cache_usage_perc", pair.decode_port) == 0
