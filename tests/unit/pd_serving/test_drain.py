# SPDX-License-Identifier: Apache-2.0
"""New work goes to those that take it; what is there, and what comes all the same, is served."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from engine_pair import Pair
from reference_tokens import prompts


@pytest.fixture(scope="module")
def three(tmp_path_factory, tiny_config):
    """A prefill instance and two for decode."""
    with Pair(tmp_path_factory.mktemp("three"), tiny_config, decodes=2) as made:
        yield made


def made(pair, number):
    """Tokens that the decode instance has made."""
    return pair.metric("vllm:generation_tokens_total", pair.decode_ports[number])


def drain(pair, number, way="/drain"):
    status, text = pair.ask("POST", way, port=pair.decode_ports[number])
    assert (status, json.loads(text)) == (200, {"draining": way == "/drain"})
    pair.eventually(lambda: pair.draining() == [each == number and way == "/drain" for each in range(2)])


def asked(number):
    return {"prompt": prompts(4)[number % 4], "max_tokens": 12, "ignore_eos": True}


def test_new_requests_go_to_the_decode_that_is_not_draining(three):
    drain(three, 0)
    before = made(three, 0)
    for number in range(4):
        three.tokens(**asked(number))
    assert made(three, 0) == before
    assert made(three, 1) >= 4 * 11
    drain(three, 0, "/resume")
    drain(three, 1)
    three.tokens(**asked(0))
    assert made(three, 0) == before + 11
    drain(three, 1, "/resume")


def test_what_runs_in_one_that_drains_is_finished_there(three, single):
    long = {**asked(0), "max_tokens": 300}
    wanted = single.tokens(**long)
    before = [made(three, number) for number in range(2)]
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(three.tokens, **long)
        three.eventually(lambda: before != [made(three, number) for number in range(2)])
        for port in three.decode_ports:
            assert three.ask("POST", "/drain", port=port)[0] == 200
        assert busy.result() == wanted
    assert three.tokens(**asked(1)) == single.tokens(**asked(1))  # where all drain, somebody has to
    for port in three.decode_ports:
        assert three.ask("POST", "/resume", port=port)[0] == 200


def test_balancers_see_whether_new_work_is_to_come_and_it_is_served_all_the_same(three, single):
    assert three.ask("GET", "/ready")[0] == 200
    assert three.ask("POST", "/drain")[0] == 200
    status, text = three.ask("GET", "/ready")
    assert (status, json.loads(text)) == (503, {"status": "draining"})
    health = json.loads(three.ask("GET", "/health")[1])
    assert (health["status"], health["draining"]) == ("ok", True)
    assert three.tokens(**asked(2)) == single.tokens(**asked(2))
    assert three.ask("POST", "/resume")[0] == 200
    assert three.ask("GET", "/ready")[0] == 200


def test_a_body_is_refused(three):
    status, text = three.ask("POST", "/drain", {"for": 3})
    assert status == 400
    assert "POST /drain takes no body" in text
