# SPDX-License-Identifier: Apache-2.0
"""What holds for every queue of requests, cancelled ones among them; no model is asked."""

from hypothesis import given
from hypothesis import strategies as st
from pd_serving.cache import PagedCache, blocks_for
from pd_serving.schedule import Budget, Scheduler, Sequence

BLOCKS, LONGEST = 6, 700
REQUESTS = st.lists(
    st.tuples(
        st.integers(1, 600),  # tokens of the prompt
        st.integers(1, 100),  # of the answer
        st.integers(0, 20),  # the iteration before which it comes
        st.none() | st.integers(0, 60),  # and before which it is cancelled
    ),
    max_size=12,
)
BUDGETS = st.builds(Budget, st.integers(13, 700), st.integers(1, 12), cut=st.just(True)) | st.builds(
    Budget, st.just(LONGEST), st.integers(1, 12), cut=st.just(False)
)


class Blocks(PagedCache):
    """Numbers of blocks, without what is in them."""

    def __init__(self, blocks):
        self.blocks = blocks
        self._free = list(range(blocks))


def held(scheduler):
    return [*scheduler.prompts, *scheduler.running]


def check(scheduler, work, budget):
    """One iteration's work, before it is done."""
    assert sum(count for _, count in work) <= budget.tokens
    assert len(work) <= budget.sequences
    assert [each for each, _ in work][: len(scheduler.running)] == scheduler.running
    taken = [block for each in held(scheduler) for block in each.blocks]
    assert len(set(taken)) == len(taken)
    for each, count in work:
        assert 1 <= count <= len(each.pending)
        assert blocks_for(each.length + count) <= len(each.blocks)
        assert budget.cut or count == len(each.pending)


@given(requests=REQUESTS, budget=BUDGETS)
def test_everybody_gets_all_tokens_in_order_of_arrival_and_all_blocks_come_back(requests, budget):
    cache = Blocks(BLOCKS)
    scheduler = Scheduler(cache, budget)
    every = [
        Sequence(number, [0] * prompt, prompt + answer, answer, ignore_eos=True)
        for number, (prompt, answer, _, _) in enumerate(requests)
    ]
    begun, cancelled, finished, iteration = [], set(), set(), 0
    while len(cancelled | finished) < len(every):
        for each, (_, _, comes, goes) in zip(every, requests, strict=True):
            if comes == iteration:
                scheduler.add(each)
            if goes is not None and iteration == max(comes, goes) and each.number not in finished:
                scheduler.drop(each)
                cancelled.add(each.number)
        work = scheduler.next()
        check(scheduler, work, budget)
        assert work or not scheduler.waiting, "somebody waits, and nothing is done"
        begun += [each for each, _ in work if each not in begun]
        for each in scheduler.done(work):
            if each.got(0, 0.0, frozenset()):
                scheduler.drop(each)
                finished.add(each.number)
        iteration += 1
    came = [(requests[each.number][2], each.number) for each in begun]
    assert came == sorted(came)
    assert all(each.made == requests[each.number][1] for each in every if each.number in finished)
    assert cache.free == BLOCKS
