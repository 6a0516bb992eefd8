# SPDX-License-Identifier: Apache-2.0
"""Dispatch by phase, as a user of the daemon sees it."""

from __future__ import annotations

from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually

from flexnpu.client import Client


def shares(client: Client) -> list[float | None]:
    return [client.vnpu(name).effective_share_percent for name in ("prefill", "decode", "other")]


def create(client: Client) -> None:
    for name, phase, share in (("prefill", "prefill", 50), ("decode", "decode", 30), ("other", None, 20)):
        client.create_vnpu(name, cores=24, memory_bytes=GIB, share_percent=share, phase=phase)


def let_both_wait(node: Node, client: Client) -> list[FakeTenant]:
    """They take turns without ever launching."""
    tenants = [FakeTenant.attach(node.attach_socket, name) for name in ("prefill", "decode")]
    for tenant in tenants:
        tenant.wait(1)
    client.set_quota("other", memory_bytes=2 * GIB)  # the arbiter looks at what nobody rang for
    return tenants


def test_by_phase_time_moves_to_the_phase_that_waits(quiet_node: Node):
    quiet_node.start("--dispatch", "phase")
    client = quiet_node.client()
    create(client)
    assert shares(client) == [50, 30, 20]
    prefill, decode = let_both_wait(quiet_node, client)

    def moved() -> bool:
        decode.waited(100_000_000)
        return (client.vnpu("decode").effective_share_percent or 0) > 40

    eventually(moved)
    now = shares(client)
    assert (now[0] or 0) + (now[1] or 0) == 80
    assert now[2] == 20
    assert client.vnpu("decode").share_percent == 30
    assert f"30%, now {now[1]:g}%" in quiet_node.flexnpu("ps")[1] or shares(client) != now
    prefill.close(), decode.close()
    eventually(lambda: shares(client) == [50, 30, 20])  # no phase is there any more


def test_without_it_shares_stay(node: Node):
    client = node.client()
    create(client)
    tenants = let_both_wait(node, client)
    for _ in range(100):
        tenants[1].waited(100_000_000)
        assert shares(client) == [50, 30, 20]
    for tenant in tenants:
        tenant.close()


def test_an_unknown_dispatch_is_refused(quiet_node: Node):
    code, errors = quiet_node.launch("--dispatch", "first").end()
    assert code == 2
    assert "--dispatch" in errors
    assert "phase" in errors
