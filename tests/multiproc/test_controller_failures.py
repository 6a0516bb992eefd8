# SPDX-License-Identifier: Apache-2.0
"""What the controller makes of engines and a daemon that go, hang and come back; it is never started anew."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually

from flexnpu.controller import Endpoint, Service, Settings
from flexnpu.controller.command import Controller
from flexnpu.controller.config import Options
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config
from flexnpu.planner import Targets

PHASES = {"p": 1, "d": 2}
STEPS = {"p": {"requests": 1, "tokens": 8000, "context": 8000}, "d": {"requests": 8, "tokens": 8, "context": 16_000}}


class Engine:
    """A played engine at work: a step every 20 ms, and a grant acknowledged as soon as it is seen."""

    def __init__(self, node: Node, name: str) -> None:
        self._node, self.name = node, name
        self.tenant = FakeTenant.attach(node.attach_socket, name)
        self.hung = False
        self.every = 0.02
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def come_back(self) -> None:
        """To the daemon's successor."""
        self.hung = True
        time.sleep(2 * self.every)
        self.tenant = self.tenant.come_back(self._node.attach_socket)
        self.hung = False

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self.tenant.close()

    @property
    def cores(self) -> int:
        return self.tenant.quota[1]

    def _run(self) -> None:
        due = 0.0
        while not self._ended.wait(0.001):
            if self.hung:
                continue
            self.tenant.acknowledge()
            if time.monotonic() >= due:
                self.tenant.begin_step(PHASES[self.name], **STEPS[self.name])
                due = time.monotonic() + self.every


@pytest.fixture
def options(node: Node, tmp_path: Path) -> Options:
    client = node.client()
    for name in PHASES:
        client.create_vnpu(name, cores=12, memory_bytes=GIB)
    model = ModelShape.from_config(find_config("Qwen2.5-7B")[1])
    chat = Service("chat", model, Targets(1.0, 0.05), prefill=(Endpoint("p"),), decode=(Endpoint("d"),))
    return Options((chat,), Settings(), tmp_path / "decisions.jsonl", node.root)


@contextmanager
def at_work(node: Node, options: Options) -> Iterator[dict[str, Engine]]:
    """Both engines at work and planned for."""
    engines = {name: Engine(node, name) for name in PHASES}
    try:
        with Controller(options):
            eventually(lambda: latest(options)["services"][0]["mode"] == "planned")
            eventually(lambda: engines["p"].cores > 12)
            yield engines
    finally:
        for engine in engines.values():
            engine.end()


def decisions(options: Options) -> list[dict[str, Any]]:
    assert options.decisions is not None
    lines = options.decisions.read_text().splitlines() if options.decisions.exists() else []
    return [told for line in lines if (told := json.loads(line))["kind"] == "decision"]


def latest(options: Options) -> dict[str, Any]:
    return (decisions(options) or [{"reason": "", "services": [{"mode": "none"}]}])[-1]


def noticed_within(options: Options, words: str, seconds: float) -> None:
    """Device seconds are wall seconds here; a host that is busy elsewhere gets some of its own."""
    began = time.monotonic()
    eventually(lambda: words in latest(options)["reason"])
    assert time.monotonic() - began < 5 * seconds


def test_an_engine_that_is_killed_is_noticed_and_the_other_keeps_what_it_was_promised(node: Node, options: Options):
    with at_work(node, options) as engines:
        engines["p"].end()
        node.client().delete_vnpu("p", force=True)
        noticed_within(options, "vNPU p is gone", 1.0)
        eventually(lambda: engines["d"].cores == 12)
        assert node.client().devices()[0].cores_free == 12
        node.client().create_vnpu("p", cores=12, memory_bytes=GIB)
        engines["p"] = Engine(node, "p")
        eventually(lambda: latest(options)["mode"] == "planned")
        eventually(lambda: engines["p"].cores > 12)


def test_a_hung_engine_is_noticed_asked_for_nothing_more_and_planned_for_when_it_goes_on(node: Node, options: Options):
    with at_work(node, options) as engines:
        held = engines["p"].cores
        engines["p"].hung = True
        noticed_within(options, "p has not acknowledged its cores", 2.0)
        asked = len(decisions(options))
        time.sleep(1.0)
        assert len(decisions(options)) == asked
        assert engines["d"].cores + held <= 24  # what the hung one may still launch on is nobody else's
        engines["p"].hung = False
        eventually(lambda: latest(options)["mode"] == "planned")


def test_a_daemon_that_is_killed_and_started_anew_is_found_again(node: Node, options: Options):
    with at_work(node, options) as engines:
        node.kill()
        noticed_within(options, "has not been followed", 2.0)
        node.start()
        for engine in engines.values():
            engine.come_back()
        eventually(lambda: latest(options)["mode"] == "planned")
        eventually(lambda: engines["p"].cores > 12)
        moved = [told for told in decisions(options) if told["moved"] and told["applied"]["error"] is None]
        assert moved[-1]["mode"] == "planned"


def test_a_device_that_has_become_slower_is_learnt_and_decode_gets_what_keeps_its_target(node: Node, options: Options):
    with at_work(node, options) as engines:
        planned = [told for told in decisions(options) if told["mode"] == "planned"][-1]["services"][0]
        expected = planned["forecast"]["decode_seconds"]
        engines["d"].every = 1.3 * expected
        eventually(lambda: latest(options)["services"][0]["inputs"]["decode_correction"] > 1.15)
        eventually(lambda: engines["d"].cores > planned["grants"]["d"]["cores"])
        assert latest(options)["services"][0]["meets_itl"]


def test_an_engine_that_ends_leaves_other_services_planned_for(node: Node, options: Options):
    (chat,) = options.services
    node.client().rebalance([{"vnpu": "p", "cores": 8}, {"vnpu": "d", "cores": 8}], wait=0.1)
    node.client().create_vnpu("e", cores=8, memory_bytes=GIB)
    lone = Service("embed", chat.model, chat.targets, engines=(Endpoint("e"),), minima=(2,), safe=(4,))
    both = replace(options, services=(replace(chat, minima=(2, 3), safe=(10, 10)), lone))
    embed = FakeTenant.attach(node.attach_socket, "e")
    answering = threading.Event()

    def answer() -> None:
        while not answering.wait(0.001):
            embed.acknowledge()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    embed.begin_step(PHASES["p"], requests=1, tokens=200, context=200)
    with at_work(node, both):
        answering.set()
        thread.join()
        embed.close()
        node.client().delete_vnpu("e", force=True)
        eventually(lambda: "vNPU e is gone" in latest(both)["reason"])
        chat_plan, embed_plan = latest(both)["services"]
        assert (chat_plan["mode"], embed_plan["mode"]) == ("planned", "safe")
