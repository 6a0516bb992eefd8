# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flexnpu.simulator import Arrival
from flexnpu.simulator.request import Request
from flexnpu.simulator.waiting import Waiting


@given(st.data())
def test_an_order_moves_who_is_named_and_columns_go_with_the_queue(data):
    waiting = Waiting()
    count = data.draw(st.integers(0, 12))
    requests = [Request(index, Arrival(float(index), 1 + index, 1), ()) for index in range(count)]
    for request in requests:
        waiting.append(request)
    among = data.draw(st.integers(0, count + 2))
    shown = min(among, count)
    order = tuple(data.draw(st.permutations(range(shown)))[: data.draw(st.integers(0, shown))])
    start = data.draw(st.integers(0, 3))
    waiting.reorder(tuple(start + place for place in order), among, start)
    unnamed = [place for place in range(count) if place not in order]
    assert [request.index for request in waiting] == [*order, *unnamed]
    tokens, since = waiting.columns(count)
    assert np.array_equal(tokens, [request.target for request in waiting])
    assert np.array_equal(since, [request.since for request in waiting])
