# SPDX-License-Identifier: Apache-2.0
"""Paged KV: who has which blocks, what stays cached, what goes first."""

import pytest

from flexnpu._native import KvCache, SimulatedRequest


def request(index, prompt, blocks=()):
    return SimulatedRequest(index, 0.0, prompt, 1, blocks)


def run(cache, *args):
    """A request that is admitted and computes its prompt."""
    one = request(*args)
    assert cache.admit(one)
    one.computed = one.target
    cache.computed(one)
    return one


@pytest.fixture
def cache():
    return KvCache(capacity=12, block_tokens=4, hash_tokens=8, caching=True)


def test_blocks_of_a_prompt_are_taken_whole_and_given_back(cache):
    one = run(cache, 0, 9)
    assert cache.used == 3
    cache.release(one)
    assert cache.used == 0


def test_a_running_request_s_prefix_is_shared_not_copied(cache):
    run(cache, 0, 17, (1, 2))
    two = request(1, 20, (1, 2))
    assert cache.hits(two) == 2
    assert cache.admit(two)
    assert (two.computed, cache.used) == (16, 5 + 1)


def test_a_prefix_outlives_its_request_and_counts_as_free(cache):
    cache.release(run(cache, 0, 17, (1, 2)))
    assert cache.free == 12
    assert cache.hits(request(1, 17, (1, 2))) == 2


def test_the_prompt_s_tail_is_evicted_first_and_the_least_recently_used_prompt_before_others(cache):
    cache.release(run(cache, 0, 16, (1, 2)))
    cache.release(run(cache, 1, 16, (3, 4)))
    cache.grow(12 - 3 * 2)
    assert cache.hits(request(2, 17, (1, 2))) == 1
    assert cache.hits(request(3, 17, (3, 4))) == 2


def test_a_hit_in_the_middle_is_none(cache):
    cache.release(run(cache, 0, 16, (1, 2)))
    assert cache.hits(request(1, 17, (9, 2))) == 0


def test_cached_blocks_that_a_request_revives_are_not_free_for_the_rest_of_it(cache):
    cache.release(run(cache, 0, 16, (1, 2)))
    cache.grow(7)
    one = request(1, 24, (1, 2))  # 4 blocks revived, 2 new ones; 5 are free
    assert not cache.fits(one)
    assert not cache.admit(one)
    assert cache.free == 5


def test_two_that_compute_the_same_block_at_once_keep_a_copy_each(cache):
    one, two = request(0, 9, (1,)), request(1, 9, (1,))
    assert cache.admit(one)
    assert cache.admit(two)
    for each in (one, two):
        each.computed = 9
        cache.computed(each)
    assert (one.shared, two.shared) == ([1], [])
    assert cache.used == 6
    cache.release(one)
    cache.release(two)
    assert cache.used == 0


def test_only_full_blocks_are_entered_and_only_once_computed(cache):
    one = request(0, 17, (1, 2))
    cache.admit(one)
    one.computed = 15
    cache.computed(one)
    assert cache.hits(request(1, 17, (1, 2))) == 1


def test_thousands_of_blocks_are_looked_up_without_a_scan():
    cache = KvCache(capacity=4 * 20_000, block_tokens=4, hash_tokens=16, caching=True)
    for number in range(100):
        cache.release(run(cache, number, 16 * 150, range(150 * number, 150 * (number + 1))))
    probes = [request(number, 16 * 150, range(150 * number, 150 * (number + 1))) for number in range(100)]
    assert [cache.hits(probe) for probe in probes] == [149] * 100
