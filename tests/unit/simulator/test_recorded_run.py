# SPDX-License-Identifier: Apache-2.0
"""The engine beside a recorded vLLM run, whose device's measured table times the iterations."""

import numpy as np
import pytest

pytest.importorskip("flexnpu.forecast.calibration_profile", reason="needs forecasts that are fitted to a table")
recorded_run = pytest.importorskip("recorded_run")


@pytest.fixture(scope="module")
def forecast():
    if not recorded_run.TABLE.is_dir():
        pytest.skip(f"the device's measured table is not in {recorded_run.TABLE}")
    return recorded_run.forecaster()


def test_ttft_and_tpot_of_a_recorded_run_are_met(forecast):
    arrivals, real = recorded_run.recording()
    ours = recorded_run.simulated(arrivals, forecast)
    assert ours.ttft.mean() == pytest.approx(real.ttft.mean(), rel=0.15)
    assert ours.tpot.mean() == pytest.approx(real.tpot.mean(), rel=0.05)
    assert ours.end == pytest.approx(real.end, rel=0.05)
    # Not on average alone: the queue is the same queue.
    assert np.median(np.abs(ours.ttft - real.ttft)) < 0.05 * real.ttft.mean()


def test_what_a_preempted_request_finds_again_is_part_of_the_match(forecast):
    arrivals, real = recorded_run.recording()
    reused, anew = (recorded_run.simulated(arrivals, forecast, prefix_caching=caching) for caching in (True, False))
    assert reused.preemptions > 100
    assert abs(reused.ttft.mean() - real.ttft.mean()) < abs(anew.ttft.mean() - real.ttft.mean())
