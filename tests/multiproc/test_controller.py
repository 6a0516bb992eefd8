# SPDX-License-Identifier: Apache-2.0
"""The controller on a daemon, with engines that it knows by their steps alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually

from flexnpu.controller import CoresError, Endpoint, Service, Settings
from flexnpu.controller.command import Controller
from flexnpu.controller.config import Options
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config
from flexnpu.planner import Targets

PREFILL, DECODE = 1, 2


@pytest.fixture
def options(node: Node, tmp_path: Path) -> Options:
    client = node.client()
    for name in ("p", "d"):
        client.create_vnpu(name, cores=12, memory_bytes=GIB)
    model = ModelShape.from_config(find_config("Qwen2.5-7B")[1])
    chat = Service("chat", model, Targets(1.0, 0.05), prefill=(Endpoint("p"),), decode=(Endpoint("d"),))
    return Options((chat,), Settings(), tmp_path / "decisions.jsonl", node.root)


def test_a_step_that_begins_moves_cores_and_idleness_moves_them_back(node: Node, options: Options):
    prefill, decode = (FakeTenant.attach(node.attach_socket, name) for name in ("p", "d"))

    def acknowledge() -> None:
        for each in (prefill, decode):
            each.acknowledge()

    def decisions(prefill_is: str) -> list[dict[str, Any]]:
        acknowledge()
        assert options.decisions is not None
        told = [json.loads(line) for line in options.decisions.read_text().splitlines()]
        planned = [each for each in told if each["kind"] == "decision" and each["mode"] == "planned"]
        return [each for each in planned if each["services"][0]["phases"]["prefill"] == prefill_is]

    with Controller(options):
        eventually(lambda: decode.watched)
        decode.begin_step(DECODE, requests=8, tokens=8, context=16_000)
        prefill.begin_step(PREFILL, requests=1, tokens=8000, context=8000)
        seen = eventually(lambda: decisions("busy"))[0]
        eventually(lambda: decisions("idle") and decisions("idle")[-1]["number"] > seen["number"])
    assert seen["moved"]
    assert seen["after"]["p"]["cores"] > 12
    assert seen["services"][0]["inputs"]["prefill"]["new_tokens"] == 8000
    assert seen["seen_after_wall_seconds"] > 0
    eventually(lambda: acknowledge() or (prefill.quota[1], decode.quota[1]) == (12, 12))
    eventually(lambda: not decode.watched)


def test_two_controllers_of_one_device_are_refused_but_an_observer_is_not(node: Node, options: Options):
    with Controller(options):
        with pytest.raises(CoresError, match="device 0 has a controller already"):
            Controller(options)
        with Controller(replace(options, settings=Settings(moves=False), decisions=None)):
            pass
    with Controller(options):
        pass


def test_a_vnpu_that_does_not_exist_is_named_with_those_that_do(node: Node, options: Options):
    missing = replace(options.services[0], prefill=(Endpoint("nobody"),))
    with pytest.raises(CoresError, match="vNPU 'nobody' does not exist; there are p, d"):
        Controller(replace(options, services=(missing,)))


def test_the_daemon_knows_the_controller_and_its_decisions(node: Node, options: Options):
    prefill, decode = (FakeTenant.attach(node.attach_socket, name) for name in ("p", "d"))
    client = node.client()
    with Controller(options):
        (known,) = eventually(client.controllers)
        assert (known.name, known.live, known.mode, known.moves, known.devices) == ("chat", True, "split", True, [0])
        assert [service.prefill for service in known.services] == [["p"]]
        eventually(lambda: decode.watched)
        decode.begin_step(DECODE, requests=8, tokens=8, context=16_000)
        prefill.begin_step(PREFILL, requests=1, tokens=8000, context=8000)

        def planned() -> list[Any]:
            prefill.acknowledge()
            decode.acknowledge()
            return [told for told in client.decisions() if told.mode == "planned" and told.moved]

        told = eventually(planned)[0]
        assert told.controller == "chat"
        assert told.after["p"].cores > 12
        assert told.services[0].forecast
        node.kill()
        node.start()
        prefill.come_back(node.attach_socket)
        assert [each.name for each in eventually(client.controllers)] == ["chat"]
    assert not any(each.live for each in client.controllers())
