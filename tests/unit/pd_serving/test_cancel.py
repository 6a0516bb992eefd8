# SPDX-License-Identifier: Apache-2.0
"""Requests that nobody waits for any more."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from engine_client import client
from engine_pair import Pair
from engine_single import Single
from pd_serving.ticket import Ticket


@pytest.fixture
def still(tiny_config):
    """An engine whose loop nobody runs: the test does each turn."""
    made = Single(tiny_config, "--chunk", "40", "--max-batch", "2").engine

    def turn():
        made._receive(wait=False)
        made._prepare()
        return made._iterate()

    made.turn = turn
    return made


@pytest.mark.parametrize("turns", [0, 1, 3, 5])
def test_a_cancelled_request_has_no_blocks_at_the_next_iteration(still, turns):
    ticket = Ticket(list(range(100)), 50, ignore_eos=True)  # it waits, is in its prompt, or decodes
    still.submit(ticket)
    for _ in range(turns):
        assert still.turn()
    assert (still._cache.usage > 0) == (turns > 0)
    still.cancel(ticket, "abort")
    assert not still.turn()
    assert still._cache.usage == 0
    events = []
    while not ticket.events.empty():
        events.append(ticket.events.get())
    assert [event.reason for event in events] == [None] * max(0, turns - 2) + ["abort"]


def test_cancelling_twice_or_late_is_no_harm(still):
    ticket = Ticket([1, 2], 1)
    still.submit(ticket)
    assert still.turn()
    for _ in range(2):
        still.cancel(ticket, "abort")
    assert not still.turn()
    assert ticket.events.get().reason == "length"
    assert ticket.events.empty()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_is_counted_and_holds_nothing(single, stream):
    before = single.metric("vllm:request_success_total", finished_reason="abort")
    made = single.metric("vllm:generation_tokens_total")
    with client(single, prompt="abc", max_tokens=500, stream=stream):
        single.until("vllm:num_requests_running", 1)
    single.until("vllm:request_success_total", before + 1, finished_reason="abort")
    assert single.metric("vllm:kv_cache_usage_perc") == 0
    assert single.metric("vllm:generation_tokens_total") - made < 500


def test_an_answer_that_was_read_to_its_end_is_no_abort(single):
    before = single.metric("vllm:request_success_total", finished_reason="abort")
    assert single.complete(prompt="abc", max_tokens=3)[0] == 200
    assert single.metric("vllm:request_success_total", finished_reason="abort") == before


@pytest.fixture(scope="module")
def small_pair(tmp_path_factory, tiny_config):
    small = ("--slots", "1", "--cache-blocks", "4", "--chunk", "100")
    with Pair(tmp_path_factory.mktemp("small"), tiny_config, *small) as made:
        yield made


def test_a_pair_lets_go_of_blocks_and_slots_wherever_the_request_is(small_pair):
    pair, decode = small_pair, small_pair.decode_port
    with client(pair, prompt="runs", max_tokens=500) as runs:
        pair.until("vllm:num_requests_running", 1, decode)
        with client(pair, prompt="waits in decode", max_tokens=400):
            pair.until("vllm:num_requests_waiting", 1, decode)
            with client(pair, prompt="waits for a slot", max_tokens=400):
                pair.until("vllm:kv_cache_usage_perc", 0.25)
                assert pair.metric("vllm:num_requests_running", decode) == 1
            pair.until("vllm:kv_cache_usage_perc", 0)
        pair.until("vllm:num_requests_waiting", 0, decode)
        runs.close()
        pair.until("vllm:kv_cache_usage_perc", 0, decode)
    pair.until("vllm:request_success_total", 3, finished_reason="abort")
    assert pair.complete(prompt="next", max_tokens=3, ignore_eos=True)[0] == 200


def test_clients_that_come_and_go_leave_nothing(small_pair):
    pair, chance = small_pair, random.Random(2)
    before = sum(pair.metric("vllm:request_success_total", finished_reason=each) for each in ("length", "abort"))

    def come_and_go(patience, **fields):
        with client(pair, **fields) as connection:
            connection.settimeout(patience)
            with suppress(TimeoutError):
                while connection.recv(1 << 16):
                    pass

    def asked():
        sizes = {"prompt_tokens": chance.randint(1, 300), "max_tokens": chance.randint(1, 200)}
        return chance.choice([0.001, 0.05, 0.3]), {"stream": chance.random() < 0.5, **sizes}

    every = [asked() for _ in range(60)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda each: come_and_go(each[0], **each[1]), every))
    for port in (pair.port, pair.decode_port):
        for gauge in ("num_requests_waiting", "num_requests_running", "kv_cache_usage_perc"):
            pair.until(f"vllm:{gauge}", 0, port)
    after = sum(pair.metric("vllm:request_success_total", finished_reason=each) for each in ("length", "abort"))
    assert after - before == len(every)
    assert pair.complete(prompt="next", max_tokens=3, ignore_eos=True)[0] == 200
