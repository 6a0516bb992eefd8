# SPDX-License-Identifier: Apache-2.0
"""flexnpu top on a terminal, beside a daemon with tenants."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually
from screen import Screen

COMMAND = [sys.executable, "-m", "flexnpu.cli.main", "top", "--interval", "0.2"]
DECODE = 2


@pytest.fixture
def node(lasting_node: Node) -> Node:
    return lasting_node


@pytest.fixture
def three(node: Node) -> Iterator[dict[str, FakeTenant]]:
    client = node.client()
    client.create_vnpu("alpha", cores=4, memory_bytes=8 * GIB)
    client.create_vnpu("beta", cores=12, memory_bytes=8 * GIB, phase="decode")
    client.create_vnpu("gamma", cores=2, memory_bytes=8 * GIB)
    tenants = {name: FakeTenant.attach(node.attach_socket, name) for name in ("alpha", "beta", "gamma")}
    for tenant in tenants.values():
        tenant.acknowledge()
    tenants["gamma"].use_memory(3 * GIB)
    yield tenants
    for tenant in tenants.values():
        tenant.close()
    eventually(lambda: not client.tenants())
    for name in tenants:
        client.delete_vnpu(name)


def names(lines: list[str]) -> list[str]:
    first = [line.split()[0] for line in lines if line]
    return [word for word in first if word in ("alpha", "beta", "gamma")]


def test_keys_sort_filter_and_end_and_the_terminal_is_as_it_was(node: Node, three: dict[str, FakeTenant]):
    with Screen(COMMAND, node.env) as screen:
        lines = screen.until(lambda seen: names(seen) == ["beta", "alpha", "gamma"])
        assert "Ascend910B2, modelled" in lines[0]
        assert "18/24" in lines[0]
        screen.press("m")
        screen.until(lambda seen: names(seen)[0] == "gamma" and any("3 GiB/8 GiB" in line for line in seen))
        screen.press("m")
        screen.until(lambda seen: names(seen)[-1] == "gamma")
        screen.press("n")
        screen.until(lambda seen: names(seen) == ["alpha", "beta", "gamma"])
        screen.press("/dec")
        screen.until(lambda seen: names(seen) == ["beta"] and any("filter: dec" in line for line in seen))
        screen.press("q\x7f\r")
        screen.press("\x1b")
        screen.until(lambda seen: len(names(seen)) == 3)
        screen.press("?")
        screen.until(lambda seen: any("sort: n name" in line for line in seen))
        screen.resize(12, 60)
        screen.until(lambda seen: len(seen) == 12 and len(names(seen)) == 3)
        node.client().set_quota("alpha", cores=7)
        three["alpha"].acknowledge()
        screen.until(lambda seen: any(line.startswith("alpha") and "7/7" in line for line in seen))
        assert screen.settings_now() != screen.settings
        screen.press("q")
        assert screen.end() == 0
        assert screen.settings_now() == screen.settings
    assert b"\x1b[?1049l" in screen.raw[-64:]  # out of the alternate screen


def test_steps_of_engines_are_timed(node: Node, three: dict[str, FakeTenant]):
    beta = three["beta"]
    beta.iterate(2, DECODE, 8, 8, 16_000, 2_000, 0)
    with Screen(COMMAND, node.env) as screen:
        eventually(lambda: beta.watched)

        def row(lines: list[str]) -> list[str]:
            return next((line.split() for line in lines if line.startswith("beta")), [])

        def is_timed(lines: list[str]) -> bool:
            beta.begin_step(DECODE, requests=8, tokens=8, context=16_000)
            return len(row(lines)) > 8 and row(lines)[-5] not in ("-", "0.0")

        seen = row(screen.until(is_timed))
        assert "decode" in seen
        assert 0 < float(seen[-4]) <= float(seen[-3])
        screen.press("q")
        assert screen.end() == 0


def test_a_daemon_that_ends_is_said_and_waited_for(node: Node):
    node.client().create_vnpu("alpha", cores=4, memory_bytes=GIB)
    with Screen(COMMAND, node.env) as screen:
        screen.until(lambda seen: names(seen) == ["alpha"])
        node.kill()
        screen.until(lambda seen: any("no daemon listens" in line for line in seen))
        node.start()
        screen.until(lambda seen: names(seen) == ["alpha"] and not any("no daemon" in line for line in seen))
        node.client().delete_vnpu("alpha")
        screen.until(lambda seen: not names(seen))
        screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == 128 + signal.SIGTERM
        assert screen.settings_now() == screen.settings


def test_it_stops_for_the_shell_and_comes_back(node: Node, three: dict[str, FakeTenant]):
    with Screen(COMMAND, node.env) as screen:
        screen.until(lambda seen: len(names(seen)) == 3)
        screen.press("\x1a")
        _, status = os.waitpid(screen.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert screen.settings_now() == screen.settings
        screen.process.send_signal(signal.SIGCONT)
        screen.until(lambda seen: len(names(seen)) == 3)
        screen.press("\x03")
        assert screen.end() == 130
        assert screen.settings_now() == screen.settings


def test_in_a_pipe_it_is_text_without_colours_or_one_document(node: Node, three: dict[str, FakeTenant]):
    code, out, errors = node.flexnpu("top", "--once", "--interval", "0.1")
    assert (code, errors) == (0, "")
    assert names(out.splitlines()) == ["beta", "alpha", "gamma"]
    assert "\x1b" not in out
    code, out, _ = node.flexnpu("top", "--once", "--interval", "0.1", "--json")
    told = json.loads(out)
    assert {vnpu["name"]: vnpu["memory_used"] for vnpu in told["vnpus"]} == {"alpha": 0, "beta": 0, "gamma": 3 * GIB}
    assert told["tenants"] == 3
