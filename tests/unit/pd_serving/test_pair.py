# SPDX-License-Identifier: Apache-2.0
"""Two processes, end to end over HTTP."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from engine_client import client
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
    assert not pair.links[0].exists()


def test_more_requests_than_slots_and_blocks_are_all_served(tmp_path, tiny_config):
    with Pair(tmp_path, tiny_config, "--slots", "1", "--cache-blocks", "5", "--max-batch", "2") as pair:
        with ThreadPoolExecutor(12) as pool:
            answers = pool.map(lambda n: pair.complete(prompt_tokens=n, max_tokens=150, ignore_eos=True), range(20, 32))
            assert [status for status, _ in answers] == [200] * 12
        for port in (pair.port, pair.decode_port):
            assert pair.metric("vllm:kv_cache_usage_perc", port) == 0


def test_several_of_each_are_wired_fully_and_give_the_same_tokens(tmp_path, tiny_config, reference):
    asked = prompts(8)
    with Pair(tmp_path, tiny_config, prefills=2, decodes=2) as pair:

        def ask(number):
            body = {"prompt": asked[number], "max_tokens": 9, "ignore_eos": True, "return_token_ids": True}
            status, text = pair.ask("POST", "/v1/completions", body, pair.ports[number % 2])
            assert status == 200, text
            return json.loads(text)["choices"][0]["token_ids"]

        with ThreadPoolExecutor(len(asked)) as pool:
            tokens = list(pool.map(ask, range(len(asked))))
        made = [pair.metric("vllm:generation_tokens_total", port) for port in pair.decode_ports]
        assert sum(made) == 8 * len(asked)
        assert min(made) > 0
        assert pair.stop() == [0] * 4
    assert tokens == [generate(reference, prompt, 9) for prompt in asked]


def test_requests_go_where_the_fewest_run_whoever_sent_them(tmp_path, tiny_config):
    long = ("--max-len", "8192", "--token-budget", "8192", "--cache-blocks", "400")
    with Pair(tmp_path, tiny_config, *long, prefills=2, decodes=2) as pair, ExitStack() as clients:
        for number in range(6):
            asked = client(pair, pair.ports[number // 3], prompt_tokens=20, max_tokens=8000)
            clients.enter_context(asked)
            pair.eventually(lambda: sum(running(pair)) == number + 1)  # noqa: B023 - called here
            time.sleep(0.3)  # three beats: who has how many
        assert running(pair) == [3, 3]


def running(pair):
    return [pair.metric("vllm:num_requests_running", port) for port in pair.decode_ports]
