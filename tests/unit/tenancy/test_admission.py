# SPDX-License-Identifier: Apache-2.0
"""Guaranteed cores and memory never exceed the device."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexnpu.errors import FlexNpuError, OverQuota
from flexnpu.tenancy import Capacity, Move, Quota, Registry, VNpu, admit

GIB = 2**30
DEVICE = Capacity(0, 24, 64 * GIB)


def vnpu(id_: int, cores: int, memory: int = GIB, device: int = 0) -> VNpu:
    return VNpu(id_, f"v{id_}", device, Quota(cores, memory))


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


operations = st.one_of(
    st.tuples(st.just("create"), st.integers(0, 5), st.integers(1, 30), st.integers(1, 80)),
    st.tuples(st.just("set"), st.integers(0, 5), st.integers(1, 30), st.integers(1, 80)),
    st.tuples(st.just("move"), st.integers(0, 5), st.integers(1, 30), st.integers(0, 5)),
    st.tuples(st.just("delete"), st.integers(0, 5), st.just(1), st.just(1)),
)


@given(st.lists(operations, max_size=40))
def test_no_sequence_of_requests_exceeds_the_device(requests):
    registry = Registry(":memory:", [DEVICE])
    for what, who, cores, other in requests:
        before = {vnpu.name: vnpu.quota.revision for vnpu in registry.vnpus()}
        try:
            if what == "create":
                registry.create(VNpu(0, f"v{who}", 0, Quota(cores, other * GIB)))
            elif what == "set":
                registry.set_quota(f"v{who}", cores=cores, memory_bytes=other * GIB)
            elif what == "move":
                registry.rebalance([Move(f"v{who}", cores), Move(f"v{other}", max(1, 24 - cores))])
            else:
                registry.delete(f"v{who}")
        except FlexNpuError:
            assert before == {vnpu.name: vnpu.quota.revision for vnpu in registry.vnpus()}
        now = registry.vnpus()
        assert sum(vnpu.quota.cores for vnpu in now) <= 24
        assert sum(vnpu.quota.memory_bytes for vnpu in now) <= 64 * GIB
        assert all(vnpu.quota.revision - before.get(vnpu.name, 0) in (0, 1) for vnpu in now)
