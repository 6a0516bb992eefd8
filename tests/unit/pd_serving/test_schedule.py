# SPDX-License-Identifier: Apache-2.0
"""Iterations in this process: what is in each, and that their tokens are those of transformers."""

import pytest
import torch
from pd_serving.batch import Batch
from pd_serving.cache import PagedCache
from pd_serving.handover import HostGiver, HostTaker, IpcGiver
from pd_serving.model import Model
from pd_serving.pool import Layout, Pool, memory
from pd_serving.schedule import Budget, Sequence
from pd_serving.weights import from_model
from reference_tokens import NO_EOS, generate, prompts, sequence, serve

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(reference):
    return from_model(reference, CPU, 512)


@pytest.mark.parametrize("budget", [Budget(512, 12, cut=False), Budget(50, 12, cut=True), Budget(17, 3, cut=True)])
def test_tokens_are_those_of_transformers_however_prompts_are_cut(reference, weights, budget):
    asked = prompts(7)
    tokens, _ = serve(weights, budget, asked, 12)
    assert tokens == [generate(reference, prompt, 12) for prompt in asked]
    assert len({tuple(each) for each in tokens}) == len(asked)  # a model that always says the same would prove nothing


def test_chunks_are_first_in_first_out_and_several_prompts_share_one(weights):
    _, iterations = serve(weights, Budget(100, 12, cut=True), [[5] * 30, [6] * 130, [7] * 20], 3)
    assert iterations[:4] == [
        [(0, 30), (1, 70)],
        [(0, 1), (1, 60), (2, 20)],
        [(0, 1), (1, 1), (2, 1)],
        [(1, 1), (2, 1)],
    ]


def test_whole_prompts_wait_for_an_iteration_that_has_room(weights):
    _, iterations = serve(weights, Budget(100, 12, cut=False), [[5] * 60, [6] * 60, [7] * 20], 2)
    assert iterations == [[(0, 60)], [(0, 1), (1, 60), (2, 20)], [(1, 1), (2, 1)]]


def test_whole_prompts_are_cut_where_no_iteration_has_room_for_one(reference, weights):
    asked = [[5] * 9, [7] * 250, [6] * 20]
    tokens, iterations = serve(weights, Budget(100, 12, cut=False), asked, 3)
    assert iterations[:5] == [[(0, 9)], [(0, 1)], [(0, 1)], [(1, 100)], [(1, 100)]]
    assert iterations[5] == [(1, 50), (2, 20)]
    assert tokens == [generate(reference, prompt, 3) for prompt in asked]


def test_a_prompt_waits_for_blocks_and_nobody_overtakes_it(weights):
    _, iterations = serve(weights, Budget(512, 12, cut=True), [[5] * 200, [6] * 300, [7] * 9], 3, blocks=4)
    begins = [min(i for i, each in enumerate(iterations) if number in dict(each)) for number in range(3)]
    assert begins == [0, 3, 3]


def test_at_most_so_many_sequences_are_in_an_iteration(weights):
    _, iterations = serve(weights, Budget(512, 2, cut=True), [[5] * 9] * 5, 4)
    assert max(map(len, iterations)) == 2


def host_pool(layout):
    with memory(layout) as descriptor:
        return Pool(descriptor, layout)


def test_keys_and_values_that_went_through_host_memory_give_the_same_tokens(reference, weights):
    asked, count = prompts(5), 6
    model, mine, theirs = Model(weights, CPU), PagedCache(weights, 12), PagedCache(weights, 12)
    pool = host_pool(Layout.of(weights, 2, 512))
    giver, taker = HostGiver(pool, mine), HostTaker(pool, theirs)
    for number, prompt in enumerate(asked):
        each = sequence(number, prompt, count)
        each.blocks = mine.take(len(prompt))
        tokens = model.launch(Batch.of([(each, len(prompt))]), mine).wait()
        each.computed(len(prompt))
        place = giver.give(each)
        each.blocks = theirs.take(each.reserve)
        taker.take(place, each.length, each.blocks)
        giver.freed(number)
        while each.got(tokens[-1], 0.0, NO_EOS) is None:
            tokens += model.launch(Batch.of([(each, 1)]), theirs).wait()
            each.computed(1)
        assert tokens == generate(reference, prompt, count)
        theirs.give_back(each.blocks)
    assert (mine.free, theirs.free) == (12, 12)


def test_a_hand_over_waits_for_a_slot(weights):
    cache = PagedCache(weights, 4)
    giver = HostGiver(host_pool(Layout.of(weights, 1, 512)), cache)
    first, second = (Sequence(number, [1], 8, 8, length=5, blocks=cache.take(8)) for number in (1, 2))
    assert giver.has_room
    assert giver.give(first) == {"slot": 0}
    assert not giver.has_room
    giver.freed(1)
    assert giver.give(second) == {"slot": 0}


def test_shared_blocks_are_free_when_decode_has_read_them_or_can_read_no_more(weights):
    cache = PagedCache(weights, 4)
    giver = IpcGiver(cache, 2)
    for number in (1, 2):
        giver.give(Sequence(number, [1], 8, 8, length=5, blocks=cache.take(8)))
    assert not giver.has_room
    assert cache.free == 2
    giver.freed(1)
    assert (cache.free, giver.has_room) == (3, True)
    giver.let_go()
    assert cache.free == 4


def test_blocks_come_back(weights):
    cache = PagedCache(weights, 4)
    first = cache.take(129)
    assert first is not None
    assert len(first) == 2
    assert cache.take(3 * 128) is None
    assert cache.usage == 0.5
    cache.give_back(first)
    assert cache.free == 4
    assert cache.set_aside() == 2
    assert (cache.free, cache.usage) == (3, 0)
