# SPDX-License-Identifier: Apache-2.0
"""Steps of serving engines, followed as they begin."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually

from flexnpu.client import Client, Step
from flexnpu.errors import UnknownVNpu

PREFILL, DECODE = 1, 2


def begun(reader: Client, *names: str) -> Iterator[Step]:
    return (step for step in reader.steps(names) if step is not None)


def test_who_follows_hears_of_each_step_and_rings_cost_nothing_without_one(node: Node):
    client, reader = node.client(), node.client()
    for name in ("p", "d", "other"):
        client.create_vnpu(name, cores=4, memory_bytes=GIB)
    tenants = {name: FakeTenant.attach(node.attach_socket, name) for name in ("p", "d", "other")}
    tenants["d"].begin_step(DECODE, requests=3, tokens=3, context=900)
    assert not tenants["d"].watched
    steps = begun(reader, "p", "d")
    newest = next(steps)
    assert (newest.vnpu, newest.number, newest.phase, newest.context_sum) == ("d", 1, "decode", 900)
    assert [tenants[name].watched for name in ("p", "d", "other")] == [True, True, False]
    tenants["other"].begin_step(DECODE, requests=1, tokens=1, context=1)
    tenants["p"].begin_step(PREFILL, requests=1, tokens=5000, context=5000)
    step = next(steps)
    assert (step.vnpu, step.phase, step.new_tokens) == ("p", "prefill", 5000)
    steps.close()
    reader.close()
    assert eventually(lambda: not tenants["p"].watched)


def test_steps_end_with_the_first_of_the_vnpus_as_one_made_anew_is_another(node: Node):
    client = node.client()
    for name in ("p", "d"):
        client.create_vnpu(name, cores=4, memory_bytes=GIB)
    steps = begun(node.client(), "p", "d")
    tenant = FakeTenant.attach(node.attach_socket, "p")
    tenant.begin_step(PREFILL, requests=1, tokens=50, context=50)
    assert next(steps).vnpu == "p"
    client.delete_vnpu("d")
    assert list(steps) == []


def test_the_first_step_of_a_process_is_told_although_one_before_it_began_as_many(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    steps = begun(node.client(), "a")
    for tokens in (5000, 9000):
        tenant = FakeTenant.attach(node.attach_socket, "a")
        tenant.begin_step(PREFILL, requests=1, tokens=tokens, context=tokens)
        assert next(steps).new_tokens == tokens
        tenant.close()
        eventually(lambda: not node.client().tenants())


def test_a_daemon_that_hangs_is_noticed(node: Node):
    node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    steps = node.client().steps(["a"])
    next(steps)
    assert node.daemon is not None
    node.daemon.process.send_signal(signal.SIGSTOP)
    try:
        assert [each for each in steps if each is not None] == []
    finally:
        node.daemon.process.send_signal(signal.SIGCONT)


def test_two_follow_the_same_and_the_last_ends_it(node: Node):
    client = node.client()
    client.create_vnpu("a", cores=4, memory_bytes=GIB)
    tenant = FakeTenant.attach(node.attach_socket, "a")
    tenant.begin_step(DECODE, requests=1, tokens=1, context=1)
    first, second = node.client(), node.client()
    streams = [begun(reader, "a") for reader in (first, second)]
    assert [next(steps).number for steps in streams] == [1, 1]
    streams[0].close()
    first.close()
    tenant.begin_step(DECODE, requests=1, tokens=1, context=2)
    assert next(streams[1]).number == 2
    assert tenant.watched
    streams[1].close()
    second.close()
    assert eventually(lambda: not tenant.watched)


def test_steps_end_with_the_vnpu_and_are_refused_of_one_that_does_not_exist(node: Node):
    client = node.client()
    client.create_vnpu("a", cores=4, memory_bytes=GIB)
    with pytest.raises(UnknownVNpu, match="'nobody' does not exist"):
        next(node.client().steps(["a", "nobody"]))
    tenant = FakeTenant.attach(node.attach_socket, "a")
    tenant.begin_step(DECODE, requests=1, tokens=1, context=1)
    steps = begun(node.client(), "a")
    next(steps)
    tenant.close()
    assert eventually(lambda: not client.tenants())
    client.delete_vnpu("a")
    assert list(steps) == []
