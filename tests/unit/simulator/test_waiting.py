# SPDX-License-Identifier: Apache-2.0
"""The queue of prompts, in the order that a policy wants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexnpu._native import Prompts, SimulatedRequest


def queue(count):
    prompts = Prompts()
    for index in range(count):
        prompts.put(SimulatedRequest(index, float(index), 1 + index, 1, ()))
    return prompts


@given(st.data())
def test_an_order_moves_who_is_named_and_the_others_follow_as_before(data):
    count = data.draw(st.integers(0, 12))
    prompts = queue(count)
    among = data.draw(st.integers(0, count + 2))
    shown = min(among, count)
    order = data.draw(st.permutations(range(shown)))[: data.draw(st.integers(0, shown))]
    prompts.reorder(order, among)
    unnamed = [place for place in range(count) if place not in order]
    assert [request.index for request in prompts.waiting] == [*order, *unnamed]
    assert prompts.tokens == count * (count + 1) // 2


@pytest.mark.parametrize(
    ("order", "words"), [([0, 0], "names place 0 twice"), ([3], "names place 3, which was not shown")]
)
def test_an_order_that_names_somebody_twice_or_nobody_is_refused_and_changes_nothing(order, words):
    prompts = queue(5)
    with pytest.raises(ValueError, match=words):
        prompts.reorder(order, 3)
    assert [request.index for request in prompts.waiting] == [0, 1, 2, 3, 4]
