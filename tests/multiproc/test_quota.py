# SPDX-License-Identifier: Apache-2.0
"""Quotas that change while tenants run."""

from __future__ import annotations

import json
import re
import time

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually

from flexnpu.client import Move
from flexnpu.errors import OverQuota, RevisionChanged


def moves(**cores: int) -> list[Move]:
    return [Move(vnpu=name, cores=count) for name, count in cores.items()]


def test_set_waits_until_the_tenant_has_applied_it_and_says_how_long_that_took(node: Node):
    program = node.tenant("p", 12)
    program.line()
    code, out, _ = node.flexnpu("set", "p", "--cores", "6")
    assert code == 0
    assert re.fullmatch(r"applied revision 2 on p after \d+\.\d ms\n", out)
    assert program.line() == {"pid": program.pid, "revision": 2, "cube": 6, "vector": 12, "slot": 0}


def test_set_says_so_when_a_tenant_does_not_apply_it(node: Node):
    program = node.tenant("p", 12, "deaf")
    program.line()
    code, out, errors = node.flexnpu("set", "p", "--cores", "6", "--timeout", "300ms")
    assert (code, out) == (5, "")
    assert "revision 2 on p" in errors
    assert "300ms" in errors
    assert f"pid {program.pid} is busy" in errors
    assert errors.count("\n") == 1


def test_memory_changes_with_the_same_revision(node: Node):
    node.tenant("p", 12, memory="2GiB").line()
    code, out, _ = node.flexnpu("set", "p", "--memory", "4GiB", "--cores", "5", "--json")
    assert code == 0
    assert json.loads(out)["desired_revision"] == 2
    (vnpu,) = node.client().vnpus()
    assert (vnpu.memory_bytes, vnpu.cores, vnpu.applied) == (4 * GIB, 5, True)


def test_memory_cannot_shrink_under_what_is_in_use(node: Node):
    node.tenant("p", 12, "hog", str(3 * GIB), memory="4GiB").line()
    eventually(lambda: node.client().tenants()[0].memory_used == 3 * GIB)
    code, _, errors = node.flexnpu("set", "p", "--memory", "2GiB")
    assert code == 3
    assert "3 GiB" in errors
    assert node.client().vnpu("p").revision == 1


def test_a_quota_that_does_not_differ_is_no_change(node: Node):
    node.client().create_vnpu("p", cores=12, memory_bytes=GIB)
    state = node.client().set_quota("p", cores=12, wait=1)
    assert (state.desired_revision, state.observed_revision, state.applied) == (1, 1, True)


def test_a_move_shrinks_first_and_grows_when_that_is_applied(node: Node):
    shrinking, growing = node.tenant("a", 12), node.tenant("b", 12)
    shrinking.line(), growing.line()
    state = node.client().rebalance([Move(vnpu="b", cores=18), {"vnpu": "a", "cores": 6}], wait=10)
    assert state.applied
    assert state.revisions == {"a": 2, "b": 2}
    assert shrinking.line()["cube"] == 6
    assert growing.line()["cube"] == 18


def test_nobody_grows_into_cores_that_a_tenant_has_not_left(node: Node):
    node.tenant("a", 12, "deaf").line()
    growing = node.tenant("b", 12)
    growing.line()
    state = node.client().rebalance(moves(a=6, b=18), wait=0.3)
    assert not state.applied
    by_name = {vnpu.name: vnpu for vnpu in node.client().vnpus()}
    assert (by_name["b"].cores, by_name["b"].granted_cores) == (18, 12)
    # The deaf one dies, and what it held is free at once.
    (deaf,) = [tenant.pid for tenant in node.client().tenants() if tenant.vnpu == "a"]
    next(p for p in node.programs if p.pid == deaf).kill()
    assert growing.line()["cube"] == 18


def test_a_new_vnpu_waits_for_its_cores_before_its_tenant_starts(node: Node):
    deaf = node.tenant("a", 24, "deaf")
    deaf.line()
    node.client().set_quota("a", cores=4)
    waiting = node.tenant("b", 20)
    eventually(lambda: len(node.client().vnpus()) == 2)
    time.sleep(0.3)
    assert [tenant.vnpu for tenant in node.client().tenants()] == ["a"]
    deaf.kill()
    assert waiting.line()["cube"] == 20


def test_a_rebalance_is_all_or_nothing(node: Node):
    client = node.client()
    client.create_vnpu("a", cores=12, memory_bytes=GIB)
    client.create_vnpu("b", cores=12, memory_bytes=GIB)
    with pytest.raises(OverQuota):
        client.rebalance(moves(a=6, b=19))
    assert [vnpu.cores for vnpu in client.vnpus()] == [12, 12]
    assert [vnpu.revision for vnpu in client.vnpus()] == [1, 1]


def test_who_decided_on_an_older_revision_is_told(node: Node):
    client = node.client()
    client.create_vnpu("a", cores=12, memory_bytes=GIB)
    client.set_quota("a", cores=10, if_revision=1)
    with pytest.raises(RevisionChanged):
        client.set_quota("a", cores=11, if_revision=1)
    assert client.vnpu("a").cores == 10


def test_every_tenant_of_a_vnpu_must_have_applied(node: Node):
    node.tenant("p", 12).line()
    assert node.client().vnpu("p").applied
    # The second lives in this process.
    second = FakeTenant.attach(str(node.root / "attach.sock"), "p")
    assert not node.client().set_quota("p", cores=6, wait=0.3).applied
    second.acknowledge()
    eventually(lambda: node.client().vnpu("p").applied)
    second.close()
