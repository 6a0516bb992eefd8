# SPDX-License-Identifier: Apache-2.0
"""Instances that die, hang and come back, end to end over HTTP: answers are those without any of it."""

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path

import pytest
from engine_client import client
from engine_pair import Pair, arguments
from pd_serving.handover import message_of
from pd_serving.instance import make
from pd_serving.link import SilenceError, connect
from pd_serving.options import parser
from pd_serving.pool import Layout
from pd_serving.schedule import Sequence
from reference_tokens import generate, prompts
from warm_engine import ENGINE

pytestmark = pytest.mark.timeout(280)
COUNT = 300


def asked(number):
    """Two of them greedy, two drawn."""
    drawn = {"temperature": 0.9, "top_p": 0.9, "seed": number} if number % 2 else {}
    return {"prompt": prompts(4)[number], "max_tokens": COUNT, "ignore_eos": True, **drawn}


def streamed(pair, number):
    """The tokens that a client saw, one event each."""
    return [event["choices"][0]["token_ids"][0] for event in pair.stream(return_token_ids=True, **asked(number))]


@pytest.fixture(scope="module")
def wanted(single):
    return [single.tokens(**asked(number)) for number in range(4)]


def while_streaming(pair, does):
    """The tokens of four streams during which something happens: when two or more run in the first decode instance."""
    with ThreadPoolExecutor(4) as pool:
        streams = [pool.submit(streamed, pair, number) for number in range(4)]
        pair.eventually(lambda: pair.metric("vllm:num_requests_running", pair.decode_port) >= 2)
        does()
        return [stream.result() for stream in streams]


def test_a_killed_decode_costs_no_request_and_no_token(tmp_path, tiny_config, wanted):
    with Pair(tmp_path, tiny_config, "--steps-ahead", "3", decodes=2) as pair:
        assert while_streaming(pair, pair.decodes[0].kill) == wanted
        assert pair.states() == ["lost", "ready"]
        assert pair.metric("vllm:num_preemptions_total") >= 2
        assert pair.metric("pd:decode_instances") == 1
        pair.decode_again()
        pair.until_ready()
        assert while_streaming(pair, pair.decodes[1].kill) == wanted
        pair.until("vllm:kv_cache_usage_perc", 0)
        pair.until("vllm:kv_cache_usage_perc", 0, pair.decode_port)
        assert pair.stop() == [0, 0, -signal.SIGKILL]


def test_requests_wait_for_the_only_decode_to_come_back(own_pair, wanted):
    pair = own_pair

    def kill():
        pair.decodes[0].kill()
        pair.decode_again()

    assert while_streaming(pair, kill) == wanted
    pair.decodes[0].send_signal(signal.SIGTERM)  # it hangs up, and lets go in good order
    pair.until_states(["lost"])
    assert pair.ask("GET", "/health")[0] == 200
    with ThreadPoolExecutor() as pool:
        late = pool.submit(streamed, pair, 1)
        pair.decode_again()
        assert late.result() == wanted[1]
    assert pair.stop() == [0, 0]


def test_a_hung_decode_is_seen_and_given_up_and_says_nothing_stale(tmp_path, tiny_config, wanted):
    with Pair(tmp_path, tiny_config, "--give-up", "2", decodes=2) as pair:

        def hang():
            pair.decodes[0].send_signal(signal.SIGSTOP)
            pair.until_states(["silent", "ready"])

        assert while_streaming(pair, hang) == wanted
        assert pair.states() == ["lost", "ready"]
        assert pair.metric("vllm:num_preemptions_total") >= 2
        pair.decodes[0].send_signal(signal.SIGCONT)
        pair.until_ready()
        pair.until("vllm:kv_cache_usage_perc", 0, pair.decode_port)
        assert while_streaming(pair, lambda: None) == wanted
        assert pair.stop() == [0, 0, 0]


def test_a_decode_whose_step_never_ends_falls_silent(tmp_path, tiny_config):
    engine = make(parser().parse_args(arguments("decode", tiny_config, [tmp_path / "link"])))
    goes_on, run = threading.Event(), engine._steps.run
    engine._steps.run = lambda *work: goes_on.wait(60) and run(*work)
    loop = threading.Thread(target=engine.run)
    loop.start()
    link, pool = connect(tmp_path / "link", Layout.of(engine._model.weights, 1, 512), 10.0)
    link.send({"share": None})
    heard = link.messages(5.0)
    assert [sorted(next(heard)) for _ in range(3)] == [["by", "why"], *[["draining", "others"]] * 2]
    pool.slot(0, 5).zero_()
    sequence = Sequence(7, [1], 0, 3, length=5, made=1)
    link.send(message_of(sequence, {"slot": 0}))
    with pytest.raises(SilenceError):
        list(link.messages(1.5))
    goes_on.set()
    assert next(message for message in link.messages(5.0) if "tokens" in message)["tokens"][0][0] == 7
    engine.stop()
    loop.join(30)
    link.close()
    assert not loop.is_alive()


def test_a_decode_that_stays_away_fails_requests_after_patience_and_not_those_after_it_is_back(tmp_path, tiny_config):
    with Pair(tmp_path, tiny_config, "--patience", "1", in_turn=True) as pair:
        with ThreadPoolExecutor() as pool:
            waits = pool.submit(pair.complete, prompt_tokens=20, max_tokens=490, ignore_eos=True)
            pair.until("vllm:num_requests_running", 1, pair.decode_port)
            pair.decodes[0].kill()
            status, answer = waits.result()
        assert status == 503
        assert "no decode instance for 1 s" in answer["error"]["message"]
        status, text = pair.ask("GET", "/health")
        assert status == 503
        assert "none listens" in json.loads(text)["status"]
        assert pair.complete(prompt="a", max_tokens=3)[0] == 503
        assert pair.metric("vllm:kv_cache_usage_perc") == 0
        pair.decode_again()
        pair.until_ready()
        assert pair.complete(prompt="a", max_tokens=3)[0] == 200
        assert not [path for path in Path("/dev/shm").iterdir() if "pd-serving" in path.name]


def test_only_so_many_requests_wait_while_there_is_no_decode(tmp_path, tiny_config, reference):
    with Pair(tmp_path, tiny_config, "--queue", "2") as pair:
        pair.decodes[0].kill()
        pair.until_states(["lost"])
        with ThreadPoolExecutor() as pool:
            wait = [pool.submit(pair.tokens, prompt=[n], max_tokens=5, ignore_eos=True) for n in (7, 8)]
            pair.until("vllm:generation_tokens_total", 2)
            status, answer = pair.complete(prompt="a", max_tokens=3)
            assert status == 503
            assert "2 requests wait" in answer["error"]["message"]
            pair.decode_again()
            assert [each.result() for each in wait] == [generate(reference, [n], 5) for n in (7, 8)]


def test_decode_drops_what_a_killed_prefill_asked_and_serves_the_others(tmp_path, tiny_config, reference):
    prompt = list(range(40))
    with Pair(tmp_path, tiny_config, prefills=2) as pair:
        with ThreadPoolExecutor() as pool, suppress(OSError, HTTPException), ExitStack() as clients:
            clients.enter_context(client(pair, prompt_tokens=20, max_tokens=400))
            pair.until("vllm:num_requests_running", 1, pair.decode_port)
            body = {"prompt": prompt, "max_tokens": 100}
            other = pool.submit(pair.ask, "POST", "/v1/completions", body, pair.ports[1])
            pair.prefills[0].kill()
            assert other.result()[0] == 200
        pair.until("vllm:kv_cache_usage_perc", 0, pair.decode_port)
        pair.prefills[0].wait()
        pair.prefills[0], pair.ports[0] = pair.listening(pair.begin("prefill"))
        pair.until_ready()
        assert pair.tokens(prompt=prompt, max_tokens=6, ignore_eos=True) == generate(reference, prompt, 6)


def test_a_prefill_that_never_meets_a_decode_ends_and_says_why(tmp_path, tiny_config):
    alone = [sys.executable, ENGINE, *arguments("prefill", tiny_config, [tmp_path / "none"], "--patience", "1")]
    ended = subprocess.run(alone, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert "start one with --role decode" in ended.stderr.splitlines()[-1]
