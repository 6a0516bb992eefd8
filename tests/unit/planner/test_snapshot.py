# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from flexnpu.forecast import ForecastError, Request
from flexnpu.forecast.batch import Batch
from flexnpu.planner import Snapshot, Targets

PROMPTS, RUNNING = [Request(100, 7), Request(4, 0, 3)], [Request(1, 50, 2), Request(1, 9)]


def test_lists_are_kept_as_columns_and_read_as_they_came():
    state = Snapshot(24, Targets(1.0, 0.1), PROMPTS, RUNNING, waits=[0.5, 0.25], credits=(0.1, 0.2, 0.3))
    assert isinstance(state.prefill, Batch)
    assert list(state.prefill) == PROMPTS
    assert list(state.decode) == RUNNING
    assert (state.prompts, state.waiting_tokens, state.running) == (2, 112, 3)
    assert isinstance(state.waits, np.ndarray)
    assert state.credits.tolist() == [0.1, 0.2, 0.3]


def test_columns_and_sums_are_kept_as_they_are():
    columns = Batch.of(PROMPTS)
    assert Snapshot(24, Targets(1.0, 0.1), columns, ()).prefill is columns


def test_nothing_waits_and_nothing_runs_without_being_said():
    state = Snapshot(24, Targets(1.0, 0.1))
    assert (state.prompts, state.waiting_tokens, state.running) == (0, 0, 0)


def test_a_request_that_cannot_be_is_refused_when_the_snapshot_is_made():
    with pytest.raises(ForecastError, match="new=0, cached=5"):
        Snapshot(24, Targets(1.0, 0.1), [Request(10), Request(0, 5)])
