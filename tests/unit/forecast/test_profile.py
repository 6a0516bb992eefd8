# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from flexnpu.forecast import Profile, saturation
from flexnpu.forecast.operators import OperatorModel

PROFILE = Profile()


@pytest.mark.parametrize(("share", "slower"), [(0.25, 3.49), (0.5, 1.83), (0.75, 1.27)])
def test_a_cube_bound_loop_slows_down_as_measured(share, slower):
    assert 1 / saturation(share, PROFILE.compute_bend) == pytest.approx(slower, rel=0.01)


def test_half_the_cores_cost_memory_bound_work_what_was_measured():
    assert 1.23 < 1 / saturation(0.5, PROFILE.bandwidth_bend) < 1.57


def test_a_quarter_of_the_cores_costs_memory_bound_work_about_two_and_a_half_times():
    assert 1 / saturation(0.25, PROFILE.bandwidth_bend) == pytest.approx(2.4, rel=0.02)


@pytest.mark.parametrize("bend", [0.0, 0.185, 0.857, 1.0])
def test_rates_rise_with_every_core_and_ever_less(bend):
    steps = np.diff(saturation(np.linspace(0, 1, 25), bend))
    assert (steps > 0).all()
    assert (np.diff(steps) <= 1e-12).all()


def test_all_cores_reach_the_whole_rate():
    assert saturation(1.0, 0.7) == 1.0


def test_a_large_gemm_reaches_what_was_measured_on_a_910b2(b2):
    operators = OperatorModel(b2, PROFILE)
    seconds = operators.seconds(operators.gemm(8192.0, 8192, 8192))
    assert 2 * 8192**3 / seconds / b2.peak_flops == pytest.approx(0.77, abs=0.005)


@pytest.mark.parametrize(("wide", "out"), [(3584, 37888), (18944, 3584), (4096, 28672), (8192, 8192)])
def test_a_one_row_gemm_streams_weights_at_the_measured_rate(b2, wide, out):
    operators = OperatorModel(b2, PROFILE)
    assert 1.06e12 <= 2 * wide * out / operators.seconds(operators.gemm(1.0, out, wide)) <= 1.19e12
