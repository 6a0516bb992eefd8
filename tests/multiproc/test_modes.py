# SPDX-License-Identifier: Apache-2.0
"""Two vNPUs that part a device come to share all of it in time, and back, while tenants run."""

from __future__ import annotations

import time

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually

from flexnpu.client import Client, Move
from flexnpu.errors import InvalidValue, OverQuota

SHARED = [
    {"vnpu": "prefill", "cores": 24, "share_percent": 60},
    {"vnpu": "decode", "cores": 24, "share_percent": 40, "priority": 1},
]
PARTED = [
    {"vnpu": "prefill", "cores": 18, "share_percent": None},
    {"vnpu": "decode", "cores": 6, "share_percent": None},
]


def create(client: Client) -> None:
    for name, cores in (("prefill", 18), ("decode", 6)):
        client.create_vnpu(name, cores=cores, memory_bytes=GIB, phase=name)


def pair(node: Node) -> tuple[FakeTenant, FakeTenant]:
    """A tenant of this process on each; they acknowledge when they are told to."""
    create(node.client())
    return FakeTenant.attach(node.attach_socket, "prefill"), FakeTenant.attach(node.attach_socket, "decode")


def forms(client: Client) -> list[tuple[int, float | None, int]]:
    found = [client.vnpu(name) for name in ("prefill", "decode")]
    return [(vnpu.cores, vnpu.share_percent, vnpu.priority) for vnpu in found]


def granted(client: Client) -> list[int]:
    return [client.vnpu(name).granted_cores for name in ("prefill", "decode")]


def test_a_rebalance_goes_to_shared_time_and_back_and_is_applied_within_the_second(node: Node):
    client = node.client()
    create(client)
    node.fake("prefill").line(), node.fake("decode").line()
    for revision in range(2, 12, 2):
        shared = client.rebalance(SHARED, wait=5)
        assert (shared.applied, set(shared.revisions.values())) == (True, {revision})
        assert forms(client) == [(24, 60, 0), (24, 40, 1)]
        assert granted(client) == [24, 24]
        parted = client.rebalance(PARTED, wait=5)
        assert parted.applied
        assert set(parted.revisions.values()) == {revision + 1}
        assert forms(client) == [(18, None, 0), (6, None, 1)]
        assert granted(client) == [18, 6]


def test_nobody_has_all_cores_before_the_other_has_left_its_own(node: Node):
    prefill, decode = pair(node)
    client = node.client()
    assert not client.rebalance(SHARED, wait=0.1).applied
    assert prefill.is_gated
    assert decode.is_gated
    # What prefill has cut for 18 may still be on its way past the open gate, and beside that decode has 6 in its turns.
    decode.acknowledge()
    eventually(lambda: prefill.quota[1] == 24)
    time.sleep(0.05)
    assert decode.quota[1] == 6
    prefill.acknowledge()
    eventually(lambda: decode.quota[1] == 24)
    assert not client.vnpu("decode").applied
    decode.acknowledge()
    eventually(lambda: client.vnpu("prefill").applied and client.vnpu("decode").applied)
    prefill.close(), decode.close()


def test_no_gate_stands_open_before_both_have_left_what_was_cut_for_all_cores(node: Node):
    prefill, decode = pair(node)
    client = node.client()
    client.rebalance(SHARED)
    for _ in range(2):
        eventually(lambda: (prefill.acknowledge(), decode.acknowledge()) and client.vnpu("decode").applied)
    eventually(lambda: client.vnpu("prefill").applied)
    assert not client.rebalance(PARTED, wait=0.1).applied
    assert (prefill.quota[1], decode.quota[1]) == (18, 24), "who goes first keeps its cores in its turns for now"
    prefill.acknowledge()
    eventually(lambda: decode.quota[1] == 6)
    assert prefill.is_gated
    assert decode.is_gated
    decode.acknowledge()
    eventually(lambda: not prefill.is_gated and not decode.is_gated)
    prefill.close(), decode.close()


@pytest.mark.parametrize("back", [False, True])
def test_a_daemon_that_is_killed_on_the_way_is_followed_by_one_that_goes_on_from_there(node: Node, back: bool):
    prefill, decode = pair(node)
    client = node.client()
    if back:
        client.rebalance(SHARED)
        for _ in range(2):
            eventually(lambda: (prefill.acknowledge(), decode.acknowledge()) and client.vnpu("decode").applied)
        eventually(lambda: client.vnpu("prefill").applied)
    assert not client.rebalance(PARTED if back else SHARED, wait=0.1).applied
    node.kill()
    node.start()
    client = node.client()
    held = granted(client)
    assert sum(held) <= 24 or back
    assert all(held), "nobody is left without cores"
    prefill, decode = prefill.come_back(node.attach_socket), decode.come_back(node.attach_socket)
    assert prefill.is_gated
    assert decode.is_gated
    for _ in range(3):
        prefill.acknowledge(), decode.acknowledge()
        time.sleep(0.05)
    eventually(lambda: client.vnpu("prefill").applied and client.vnpu("decode").applied)
    assert granted(client) == ([18, 6] if back else [24, 24])
    assert prefill.is_gated is not back
    prefill.close(), decode.close()


def test_a_batch_with_one_bad_move_moves_nothing(node: Node):
    client = node.client()
    create(client)
    with pytest.raises(OverQuota, match="share of 101%"):
        client.rebalance([SHARED[0], {"vnpu": "decode", "cores": 24, "share_percent": 41}])
    with pytest.raises(OverQuota, match="do not fit device 0"):
        client.rebalance([SHARED[0], {"vnpu": "decode", "cores": 6}])
    with pytest.raises(InvalidValue, match=r"share|less than or equal"):
        client.rebalance([{"vnpu": "prefill", "cores": 17}, {"vnpu": "decode", "share_percent": 101}])
    with pytest.raises(InvalidValue, match="move of decode changes nothing"):
        client.rebalance([{"vnpu": "prefill", "cores": 17}, {"vnpu": "decode"}])
    assert forms(client) == [(18, None, 0), (6, None, 0)]
    assert client.vnpu("prefill").revision == 1


def test_a_move_that_names_cores_alone_leaves_the_share_as_it_is(node: Node):
    client = node.client()
    create(client)
    client.rebalance(SHARED, wait=5)
    assert client.rebalance([Move(vnpu="decode", cores=12)], wait=5).applied
    assert client.rebalance([Move(vnpu="prefill", share_percent=50)], wait=5).applied
    assert forms(client) == [(24, 50, 0), (12, 40, 1)]
