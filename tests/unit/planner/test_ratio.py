# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexnpu.forecast import Request
from flexnpu.planner import Snapshot, SnapshotError, Targets, ratio

TARGETS = Targets(ttft=1.0, itl=0.05)


def state(prompts=0, running=0, **rules):
    prefill = (Request(2048, 0, prompts),) if prompts else ()
    decode = (Request(1, 2048, running),) if running else ()
    return Snapshot(24, TARGETS, prefill, decode, **rules)


def test_prompts_alone_get_all_devices_but_one_and_so_does_decode(forecaster):
    assert ratio(4, state(prompts=100), forecaster).prefill == 3
    assert ratio(4, state(running=400), forecaster).prefill == 1


def test_the_chosen_ratio_has_the_least_pressure_of_all(forecaster):
    found = ratio(8, state(prompts=30, running=200), forecaster)
    assert len(found.weighed) == 7
    chosen = next(each for each in found.weighed if each.prefill == found.prefill)
    assert chosen.value == min(each.value for each in found.weighed)
    assert found.prefill + found.decode == 8
    assert f"{found.prefill}:{found.decode} devices" in found.reason


def test_what_is_in_force_stays_until_another_is_better_by_the_band(forecaster):
    best = ratio(8, state(prompts=30, running=200), forecaster)
    near = next(each for each in best.weighed if each.prefill == best.prefill + 1)
    least = next(each for each in best.weighed if each.prefill == best.prefill)
    apart = 1.0 - least.value / near.value
    assert ratio(8, state(30, 200, band=apart + 0.01), forecaster, near.prefill).prefill == near.prefill
    assert ratio(8, state(30, 200, band=apart - 0.01), forecaster, near.prefill).prefill == best.prefill


def test_idle_devices_stay_what_they_are(forecaster):
    assert ratio(4, state(), forecaster, 3).prefill == 3


def test_one_device_cannot_be_parted(forecaster):
    with pytest.raises(SnapshotError, match="1 devices cannot be parted"):
        ratio(1, state(), forecaster)


@given(st.integers(0, 60), st.integers(0, 300), st.integers(2, 9))
def test_more_prompts_never_get_fewer_devices(forecaster, prompts, running, devices):
    fewer, more = (ratio(devices, state(count, running), forecaster).prefill for count in (prompts, prompts + 10))
    assert fewer <= more
