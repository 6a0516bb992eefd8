# SPDX-License-Identifier: Apache-2.0
"""Who is let in, and how often."""

from __future__ import annotations

import os

import pytest

from flexnpu.api.access import Access, Buckets
from flexnpu.api.callers import TcpPeer, UnixPeer
from flexnpu.errors import Forbidden, TooManyRequests, Unauthenticated


def test_a_bucket_fills_as_time_goes_by():
    now = [0.0]
    buckets = Buckets(10, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(21)] == [True] * 20 + [False]
    assert buckets.take("b")
    now[0] += 0.1
    assert [buckets.take("a"), buckets.take("a")] == [True, False]
    now[0] += 1e6
    assert sum(buckets.take("a") for _ in range(100)) == 20


def test_processes_are_known_by_their_user_or_group():
    access = Access(admin_gid=7)
    assert access.admit(UnixPeer(os.geteuid(), 5), "/version", {}).who == {"uid": os.geteuid(), "pid": 5}
    assert access.admit(UnixPeer(0, 5), "/version", {}).scopes
    assert access.admit(UnixPeer(12345, 5, {7}), "/version", {}).scopes
    with pytest.raises(Forbidden):
        access.admit(UnixPeer(12345, 5, {8}), "/version", {})
    with pytest.raises(Forbidden):
        Access().admit(UnixPeer(12345, 5, {0}), "/version", {})


def test_hosts_say_who_they_are_but_to_ask_for_health():
    access = Access()
    assert not access.admit(TcpPeer("10.0.0.1"), "/livez", {}).scopes
    with pytest.raises(Unauthenticated):
        access.admit(TcpPeer("10.0.0.1"), "/version", {b"authorization": b"Bearer x"})
    assert access.admit(TcpPeer("10.0.0.1", certificate="ops"), "/version", {}).who == {"certificate": "ops"}
    assert access.admit(TcpPeer("10.0.0.1", trusted=True), "/version", {b"host": b"a.example"}).scopes


@pytest.mark.parametrize("host", [b"localhost:80", b"127.0.0.1", b"[::1]:8080"])
def test_who_is_on_this_host_asks_for_this_host(host: bytes):
    assert Access().admit(TcpPeer("127.0.0.1", trusted=True), "/version", {b"host": host}).scopes
    with pytest.raises(Forbidden):
        Access().admit(TcpPeer("127.0.0.1", trusted=True), "/version", {b"host": host + b".example"})


def test_one_who_asks_too_often_does_not_keep_others_away():
    access = Access(requests_per_s=1)
    greedy = UnixPeer(0, 5)
    access.admit(greedy, "/version", {}), access.admit(greedy, "/version", {})
    with pytest.raises(TooManyRequests):
        access.admit(greedy, "/version", {})
    assert access.admit(TcpPeer("10.0.0.1", certificate="ops"), "/version", {}).scopes
