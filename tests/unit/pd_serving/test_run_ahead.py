# SPDX-License-Identifier: Apache-2.0
"""Steps that run ahead give what steps one by one give."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from engine_single import Single
from hypothesis import given, settings
from hypothesis import strategies as st
from pd_serving.batch import Batch
from pd_serving.cache import PagedCache
from pd_serving.ids import Ids
from pd_serving.options import BLOCK
from pd_serving.sampling import Sampling
from pd_serving.schedule import Budget, Scheduler, Sequence
from pd_serving.steps import Steps

VOCABULARY = 97
EOS = frozenset({11})
WANTS = st.lists(
    st.tuples(
        st.integers(1, 300),  # tokens of the prompt
        st.integers(1, 40),  # and at most of the answer
        st.booleans(),  # it ends with the text
        st.booleans(),  # it is drawn
    ),
    min_size=1,
    max_size=5,
)


class Blocks(PagedCache):
    """Numbers of blocks, and the id in each row."""

    def __init__(self, blocks):
        self.blocks = blocks
        self._free = list(range(blocks))
        self.rows = torch.zeros(blocks * BLOCK, dtype=torch.int64)


class HashModel:
    """Whatever a forward pass depends on changes its tokens: all ids before, where they are, and the draw."""

    def __init__(self):
        self.launched = 0

    def launch(self, batch, cache, before=None):
        self.launched += 1
        step = batch.step.clone()
        if before is not None:
            step[0] = before.tokens[: step.shape[1]]
        cache.rows[step[2]] = step[0]
        return Ids(torch.tensor(self.tokens(batch, cache), dtype=torch.int64), VOCABULARY)

    def tokens(self, batch, cache):
        ends = torch.tensor(batch.new).cumsum(0).sub(1).tolist()
        wanted = [ends.index(last) for last in batch.last]
        return [self.token(batch, cache, place, draw) for place, draw in zip(wanted, batch.draws, strict=True)]

    def token(self, batch, cache, place, draw):
        length, table = batch.lengths[place], batch.table[place]
        seen = [int(cache.rows[int(table[at // BLOCK]) * BLOCK + at % BLOCK]) for at in range(length)]
        return hash((tuple(seen), draw)) % VOCABULARY


def serve(wants, ahead):
    """Tokens of each request, and how many steps there were."""
    cache, model = Blocks(20), HashModel()
    scheduler, steps = Scheduler(cache, Budget(200, 4, cut=True)), Steps(model, cache, None)
    tokens = [[] for _ in wants]
    for number, (prompt, answer, ends, drawn) in enumerate(wants):
        sampling = Sampling(0.5, 0.9, number) if drawn else None
        ids = [(number + at) % VOCABULARY for at in range(prompt)]
        scheduler.add(Sequence(number, ids, prompt + answer, answer, not ends, sampling))
    while work := scheduler.next():
        for part, made in steps.run(work, 1 if scheduler.prompts else ahead):
            for each, token in zip(scheduler.done(part), made, strict=True):
                if each.over:
                    continue
                tokens[each.number].append(token)
                if each.got(token, 0.0, EOS):
                    scheduler.drop(each)
    assert cache.free == 20
    return tokens, model.launched


@settings(deadline=None, max_examples=40)
@given(wants=WANTS, ahead=st.integers(2, 9))
def test_tokens_are_the_same_however_far_steps_run_ahead(wants, ahead):
    assert serve(wants, ahead)[0] == serve(wants, 1)[0]


def test_no_step_is_launched_for_tokens_that_nobody_may_get():
    wants = [(5, 9, False, False), (5, 3, False, False)]
    assert serve(wants, 16)[1] == serve(wants, 1)[1]


def test_a_step_before_the_last_one_is_told_of_needs_no_ids():
    sequences = [
        Sequence(0, [5], 300, 9, length=127, made=1, blocks=[3, 1]),
        Sequence(1, [6], 8, 4, made=1, blocks=[2]),
    ]
    first = Batch.of([(each, 1) for each in sequences])
    for each in sequences:
        each.computed(1)
        each.got(0, 0.0, EOS)
        each.computed(1)
        each.got(0, 0.0, EOS)
    then, later = Batch.of([(each, 1) for each in sequences]), first.later(2, 2)
    assert torch.equal(later.step, then.step)
    assert torch.equal(later.table, then.table)
    assert (later.new, later.lengths, later.last, later.draws) == (then.new, then.lengths, then.last, then.draws)
    assert later.one_each


@pytest.fixture(scope="module")
def ahead(tiny_config):
    with Single(tiny_config, "--chunk", "40", "--max-batch", "12", "--steps-ahead", "4") as made:
        yield made


def test_an_engine_that_runs_ahead_answers_as_one_that_does_not(single, ahead):
    """Greedy and drawn, some ended by the end of text, and more of them than run at a time."""

    def fields(number):
        drawn = {"temperature": 0.9, "seed": number} if number % 2 else {}
        return {"prompt": [number, 7], "max_tokens": 1 + 7 * (number % 11), **drawn}

    def answers(engine):
        with ThreadPoolExecutor(30) as pool:
            return [
                (choice["token_ids"], choice["finish_reason"], answer["usage"])
                for _, answer in pool.map(lambda number: engine.complete(**fields(number)), range(60))
                for choice in answer["choices"]
            ]

    before = ahead.metric("vllm:generation_tokens_total")
    found = answers(ahead)
    assert found == answers(single)
    assert {reason for _, reason, _ in found} == {"stop", "length"}
    assert ahead.metric("vllm:generation_tokens_total") - before == sum(len(ids) for ids, _, _ in found)
    assert ahead.metric("vllm:kv_cache_usage_perc") == 0
