# SPDX-License-Identifier: Apache-2.0
"""Guaranteed cores and memory never exceed the device."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.errors import FlexNpuError, InvalidValue, OverQuota
from flexnpu.tenancy import Capacity, Move, Quota, Registry, VNpu, admit

GIB = 2**30
DEVICE = Capacity(0, 24, 64 * GIB, 48)


def vnpu(id_: int, cores: int, memory: int = GIB, *, device: int | tuple[int, ...] = 0, **limits) -> VNpu:
    devices = device if isinstance(device, tuple) else (device,)
    return VNpu(id_, f"v{id_}", devices, Quota(cores, memory, **limits))


def test_the_last_core_and_the_last_byte_are_given():
    admit(DEVICE, [vnpu(1, 12, 32 * GIB)], [vnpu(2, 12, 32 * GIB)])


def test_one_core_too_many_is_refused_with_what_there_is():
    with pytest.raises(OverQuota) as refused:
        admit(DEVICE, [vnpu(1, 12)], [vnpu(2, 13)])
    error = refused.value
    assert (error.limit, error.used, error.requested) == (24, 12, 13)
    assert "at most 12 cores" in error.next_step


def test_one_byte_too_many_is_refused():
    with pytest.raises(OverQuota) as refused:
        admit(DEVICE, [vnpu(1, 1, 60 * GIB)], [vnpu(2, 1, 4 * GIB + 1)])
    assert refused.value.limit == 64 * GIB


def test_a_change_counts_in_place_of_what_was():
    admit(DEVICE, [vnpu(1, 12), vnpu(2, 12)], [vnpu(1, 6), vnpu(2, 18)])


def test_other_devices_do_not_count():
    admit(DEVICE, [vnpu(1, 24, device=1)], [vnpu(2, 24)])


def test_every_device_of_a_vnpu_counts():
    with pytest.raises(OverQuota, match="device 0"):
        admit(DEVICE, [vnpu(1, 13)], [vnpu(2, 12, device=(1, 0))])


def test_of_those_who_take_turns_only_the_largest_counts():
    sharing = [vnpu(1, 12, share=2500), vnpu(2, 8, share=2500), vnpu(3, 12)]
    admit(DEVICE, sharing, [vnpu(4, 12, share=5000)])
    with pytest.raises(OverQuota, match="at most 12 cores") as refused:
        admit(DEVICE, sharing, [vnpu(4, 13, share=100)])
    assert (refused.value.limit, refused.value.used, refused.value.requested) == (24, 12, 13)


def test_who_has_its_cores_all_the_time_counts_beside_the_largest_of_those():
    sharing = [vnpu(1, 12, share=2500), vnpu(2, 8, share=2500)]
    admit(DEVICE, sharing, [vnpu(3, 12)])
    with pytest.raises(OverQuota, match="at most 12 cores"):
        admit(DEVICE, sharing, [vnpu(3, 13)])


def test_leaving_the_turns_counts_at_once():
    with pytest.raises(OverQuota):
        admit(DEVICE, [vnpu(1, 16, share=2500), vnpu(2, 16, share=2500)], [vnpu(2, 16)])


def test_a_device_has_a_hundred_percent_of_time():
    admit(DEVICE, [vnpu(1, 1, share=7500)], [vnpu(2, 1, share=2500)])
    with pytest.raises(OverQuota, match=r"25\.01% for v2 .*: 75% of its time.*at most 25%"):
        admit(DEVICE, [vnpu(1, 1, share=7500)], [vnpu(2, 1, share=2501)])


@pytest.mark.parametrize("limits", [{"burst_cores": 25}, {"vector_cores": 49}])
def test_nobody_may_have_cores_that_do_not_exist(limits):
    with pytest.raises(OverQuota, match="ask for at most"):
        admit(DEVICE, [], [vnpu(1, 4, **limits)])


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"burst_cores": 3}, "burst_cores 3 is below cores 4"),
        ({"vector_cores": 0}, "vector_cores 0"),
        ({"share": 0}, "share 0.0%"),
        ({"share": 10_001}, "share 100.01%"),
        ({"priority": 8}, "priority 8"),
        ({"priority": -1}, "priority -1"),
        ({"fixed_share": True}, "needs a share"),
    ],
)
def test_a_limit_out_of_range_is_named(limits, words: str):
    with pytest.raises(InvalidValue, match=words):
        Quota(4, GIB, **limits)


operations = st.one_of(
    st.tuples(st.just("create"), st.integers(0, 5), st.integers(1, 30), st.integers(1, 80)),
    st.tuples(st.just("set"), st.integers(0, 5), st.integers(1, 30), st.integers(1, 80)),
    st.tuples(st.just("move"), st.integers(0, 5), st.integers(1, 30), st.integers(0, 5)),
    st.tuples(st.just("delete"), st.integers(0, 5), st.just(1), st.just(1)),
)


@settings(deadline=None)
@given(st.lists(operations, max_size=40))
def test_no_sequence_of_requests_exceeds_the_device(requests):
    registry = Registry(":memory:", [DEVICE])
    for what, who, cores, other in requests:
        before = {vnpu.name: vnpu.quota.revision for vnpu in registry.vnpus()}
        try:
            if what == "create":
                registry.create(VNpu(0, f"v{who}", (0,), Quota(cores, other * GIB)))
            elif what == "set":
                registry.set_quota(f"v{who}", cores=cores, memory_bytes=other * GIB)
            elif what == "move":
                rest = max(1, 24 - cores)
                registry.rebalance([Move(f"v{who}", {"cores": cores}), Move(f"v{other}", {"cores": rest})])
            else:
                registry.delete(f"v{who}")
        except FlexNpuError:
            assert before == {vnpu.name: vnpu.quota.revision for vnpu in registry.vnpus()}
        now = registry.vnpus()
        assert sum(vnpu.quota.cores for vnpu in now) <= 24
        assert sum(vnpu.quota.memory_bytes for vnpu in now) <= 64 * GIB
        assert all(vnpu.quota.revision - before.get(vnpu.name, 0) in (0, 1) for vnpu in now)
