# SPDX-License-Identifier: Apache-2.0
"""What a forecast learns from iterations: a slower memory, a wrong constant, a drift; and what it does not forget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flexnpu.errors import InvalidValue
from flexnpu.forecast import Forecaster, Load, Profile
from flexnpu.forecast.online import PARTS, Learner, Learning, Recalibrated, shares_of

DECODE = [Load.decode(batch, batch * length) for batch, length in ((8, 900), (16, 1200), (32, 1500), (24, 700))]
PREFILL = [Load.prefill(512), Load.prefill(1024), Load.prefill(2048)]
MIXED = [Load.prefill(512).plus(load) for load in DECODE]


def within_fifty(truth, forecaster, loads, cores=24, seed=1):
    """What is learnt from 50 noisy iterations of those loads, one after the other."""
    rng = np.random.default_rng(seed)
    learning = Recalibrated(forecaster)
    for turn in range(50):
        load = loads[turn % len(loads)]
        learning.observe(cores, load, truth(cores, load) * float(np.exp(rng.normal(0, 0.02))))
    return learning


def misses(learning, truth, loads, cores=24):
    return [abs(learning.seconds(cores, load) / truth(cores, load) - 1) for load in loads]


def test_memory_that_is_a_fifth_slower_is_learnt_within_fifty_iterations(qwen, b2):
    slow = Forecaster(qwen, replace(b2, hbm_bandwidth=0.8 * b2.hbm_bandwidth))
    forecaster = Forecaster(qwen, b2)
    before = max(abs(forecaster.seconds(24, load) / slow.seconds(24, load) - 1) for load in DECODE)
    learning = within_fifty(slow.seconds, forecaster, DECODE)
    assert before > 0.1
    assert max(misses(learning, slow.seconds, DECODE)) < 0.03


@pytest.mark.parametrize("efficiency", [0.4, 1.0])
def test_a_wrong_constant_is_learnt_from_a_mixed_life(qwen, b2, efficiency):
    truth = Forecaster(qwen, b2, Profile(compute_efficiency=efficiency))
    learning = within_fifty(truth.seconds, Forecaster(qwen, b2), [*PREFILL, *DECODE, *MIXED])
    assert max(misses(learning, truth.seconds, [*PREFILL, *DECODE])) < 0.06


def test_a_slow_drift_is_followed(qwen, b2):
    forecaster = Forecaster(qwen, b2)
    learning = Recalibrated(forecaster)
    rng = np.random.default_rng(2)
    lags = []
    for turn in range(400):
        load = DECODE[turn % len(DECODE)]
        true = forecaster.seconds(24, load) * (1.0 + 0.3 * turn / 400)
        if turn > 50:
            lags.append(abs(learning.seconds(24, load) / true - 1))
        learning.observe(24, load, true * float(np.exp(rng.normal(0, 0.02))))
    assert max(lags) < 0.05


def test_what_is_rare_is_kept_while_something_else_is_observed_for_long(qwen, b2):
    forecaster = Forecaster(qwen, b2)
    truth = Forecaster(qwen, b2, Profile(compute_efficiency=0.5))
    learning = within_fifty(truth.seconds, forecaster, PREFILL)
    known = misses(learning, truth.seconds, PREFILL)
    rng = np.random.default_rng(3)
    for turn in range(3000):  # decode, whose memory is slower than forecast
        load = DECODE[turn % len(DECODE)]
        learning.observe(24, load, 1.25 * forecaster.seconds(24, load) * float(np.exp(rng.normal(0, 0.02))))
    assert max(known) < 0.05
    assert max(misses(learning, truth.seconds, PREFILL)) < 0.08
    assert abs(learning.seconds(24, DECODE[0]) / (1.25 * forecaster.seconds(24, DECODE[0])) - 1) < 0.05


def test_one_outlier_moves_a_settled_forecast_little_and_many_are_believed(qwen, b2):
    forecaster = Forecaster(qwen, b2)
    learning = within_fifty(forecaster.seconds, forecaster, DECODE)
    load = DECODE[0]
    settled = learning.seconds(24, load)
    learning.observe(24, load, 20 * settled)
    assert learning.seconds(24, load) < 1.1 * settled
    for _ in range(10):
        learning.observe(24, load, 1.5 * settled)
    assert learning.seconds(24, load) == pytest.approx(1.5 * settled, rel=0.1)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -1.0])
def test_what_is_no_time_teaches_nothing(qwen, b2, seconds):
    learning = Recalibrated(Forecaster(qwen, b2))
    learning.observe(24, DECODE[0], seconds)
    assert learning.learner.observed == 0


def test_factors_stay_in_their_bounds_whatever_comes():
    learner = Learner(Learning(bound=2.0))
    for _ in range(200):
        learner = learner.after(np.full(len(PARTS), 0.2), 1e6, 1.0)
    assert max(learner.factors.values()) <= 2.0 + 1e-9


def test_the_covariance_stays_positive():
    rng, learner = np.random.default_rng(4), Learner()
    for _ in range(2000):
        learner = learner.after(rng.dirichlet(np.ones(len(PARTS))), float(np.exp(rng.normal(0, 0.3))), 1.0)
    assert learner.covariance is not None
    assert np.linalg.eigvalsh(learner.covariance).min() > 0


def test_a_learner_that_has_seen_nothing_changes_no_answer(qwen, b2):
    forecaster = Forecaster(qwen, b2)
    plain = Recalibrated(forecaster)
    assert plain.seconds(24, MIXED[0]) == forecaster.seconds(24, MIXED[0])
    assert plain.alone(DECODE[0]).tolist() == forecaster.alone(DECODE[0]).tolist()
    assert shares_of(forecaster.forecast(24, MIXED[0])).sum() == pytest.approx(1.0)


def test_every_answer_carries_what_was_learnt(qwen, b2):
    forecaster = Forecaster(qwen, b2)
    learning = within_fifty(lambda cores, load: 1.3 * forecaster.seconds(cores, load), forecaster, DECODE)
    load, prompt = DECODE[0], PREFILL[0]
    assert learning.alone(load)[24] == pytest.approx(1.3 * forecaster.alone(load)[24], rel=0.05)
    assert learning.split(prompt, load)[1][12] == pytest.approx(1.3 * forecaster.split(prompt, load)[1][12], rel=0.1)
    assert learning.beside(12, prompt, 12, load)[1] == pytest.approx(
        1.3 * forecaster.beside(12, prompt, 12, load)[1], rel=0.1
    )
    assert learning.steps(24, load, 3)[2] == pytest.approx(1.3 * forecaster.steps(24, load, 3)[2], rel=0.05)
    told = learning.forecast(24, load)
    assert sum(part.seconds for part in told.parts) == pytest.approx(told.seconds, rel=1e-9)


def test_learning_that_cannot_be_is_refused():
    with pytest.raises(InvalidValue, match="noise"):
        Learning(noise=0.0)
