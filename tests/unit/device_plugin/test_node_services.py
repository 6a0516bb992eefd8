# SPDX-License-Identifier: Apache-2.0
"""From engines' annotations to the controller's file, and from that to a controller that runs."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import yaml

from device_plugin.cluster.annotations import Asked
from device_plugin.cluster.controller import AGAIN_AFTER_S, LOOK_EVERY_S, Supervisor
from device_plugin.cluster.services import Engine, Serving, services_of
from flexnpu.controller.config import read_options

QWEN = Path("/models/qwen.json")


def engine(vnpu: str, phase: str | None = None, device: int = 0, **asked: str) -> Engine:
    return Engine(vnpu, (device,), phase, Asked(**{"service": "chat", "model": "qwen", **asked}))  # type: ignore[arg-type]


def served(*engines: Engine) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    return services_of(engines, lambda name: QWEN if name == "qwen" else None)


def test_a_pair_and_an_engine_of_both_phases_are_services():
    found, left_out = served(
        engine("p", "prefill", ttft="1s"), engine("d", "decode", itl="50ms"), engine("e", service="embed", ttft="200ms")
    )
    assert left_out == {}
    assert found == {
        "chat": {
            "model": str(QWEN),
            "ttft": "1s",
            "itl": "50ms",
            "prefill": [{"vnpu": "p"}],
            "decode": [{"vnpu": "d"}],
        },
        "embed": {"model": str(QWEN), "ttft": "200ms", "engine": [{"vnpu": "e"}]},
    }


def test_what_cannot_be_served_is_left_out_with_its_reason():
    def why(*engines: Engine) -> str:
        found, left_out = served(engine("other", service="fine"), *engines)
        assert list(found) == ["fine"]
        return left_out["chat"]

    assert "it has 1 prefill engines; it needs both prefill and decode" in why(engine("p", "prefill"))
    assert "2 engines without a phase on device 0" in why(engine("a"), engine("b"))
    apart = why(engine("p", "prefill"), engine("d", "decode", device=1))
    assert "its prefill engines are on devices 0, its decode engines on 1" in apart
    assert "there is no llama.json" in why(engine("a", model="llama"))
    assert "name no model" in services_of([Engine("a", (0,), None, Asked(service="chat"))], lambda _: None)[1]["chat"]


def test_of_different_targets_the_shortest_holds():
    found, left_out = served(engine("a", itl="50ms", ttft="1s"), engine("b", device=1, itl="100ms", ttft="900ms"))
    assert left_out == {}
    assert (found["chat"]["itl"], found["chat"]["ttft"]) == ("50ms", "900ms")


def test_the_controller_can_read_the_file(tmp_path: Path):
    file = tmp_path / "services.yaml"
    pair = [engine("p", "prefill", model="qwen2.5-7B", itl="40ms"), engine("d", "decode", model="qwen2.5-7B")]
    assert Serving(file, "co-located").write(pair) == {}
    options = read_options({}, file)
    [service] = options.services
    assert (options.settings.mode, service.name, service.targets.itl) == ("co-located", "chat", 0.04)
    assert [each.vnpu for each in service.endpoints] == ["p", "d"]


def test_models_of_ones_own_go_before_those_that_ship(tmp_path: Path):
    (tmp_path / "Qwen3-8B.json").write_text("{}")
    serving = Serving(tmp_path / "services.yaml", models=tmp_path)
    serving.write([engine("a", model="Qwen3-8B")])
    assert yaml.safe_load(serving.file.read_text())["services"]["chat"]["model"] == str(tmp_path / "Qwen3-8B.json")
    assert serving.write([engine("a", model="nowhere")]) == {
        "chat": "there is no nowhere.json among the controller's models"
    }


class Child:
    """A controller, as far as a supervisor sees it."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        self.told.append(number)

    def terminate(self) -> None:
        self.told.append(signal.SIGTERM)

    def wait(self, _: float | None = None) -> int:
        return 0


def test_targets_reach_a_running_controller_and_other_engines_another_one(tmp_path: Path):
    children: list[Child] = []

    def start(file: Path) -> subprocess.Popen[bytes]:
        children.append(Child())
        return children[-1]  # type: ignore[return-value]

    serving = Serving(tmp_path / "services.yaml")
    supervisor = Supervisor(serving.file, start)

    def look(*engines: Engine) -> None:
        serving.write(engines)
        supervisor.look()

    supervisor.look()
    assert children == [], "there is no file yet"
    one = engine("a", model="Qwen3-8B")
    look(one)
    look(one)
    assert [each.told for each in children] == [[]]
    look(engine("a", model="Qwen3-8B", itl="20ms"))
    assert [each.told for each in children] == [[signal.SIGHUP]]
    look(one, engine("b", device=1, model="Qwen3-8B"))
    assert [each.told for each in children] == [[signal.SIGHUP, signal.SIGTERM], []]
    children[-1].returncode = 3
    for _ in range(round(AGAIN_AFTER_S / LOOK_EVERY_S)):
        assert len(children) == 2, "one that ended by itself is not begun at once"
        supervisor.look()
    assert len(children) == 3
    look()
    assert children[-1].told == [signal.SIGTERM]
