# SPDX-License-Identifier: Apache-2.0
"""Two devices, a prefill and a decode engine on each, and the controller: devices of one phase, then pairs again."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_node import Node, eventually
from serving import COMMON, ENGINE, MODEL, REQUESTS, Served, answers

from flexnpu.controller.command import Controller
from flexnpu.controller.config import read_options
from flexnpu.paths import library_dir

NAMES = ("d0", "d1", "p0", "p1")


@pytest.fixture
def two_devices() -> Iterator[Node]:
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", library_dir())
    node.start("--soc", "Ascend910B2", "--devices", "2")
    yield node
    node.clean_up()
    shutil.rmtree(parent)


@pytest.fixture
def engines(two_devices: Node, tmp_path: Path) -> dict[str, Served]:
    """Each prefill instance is linked with both decode instances."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps(MODEL))
    links = [tmp_path / f"link{device}" for device in range(2)]
    programs = {}
    for name in NAMES:
        role, mine = ("decode", [links[int(name[1])]]) if name[0] == "d" else ("prefill", links)
        quota = ["--name", name, "--device", name[1], "--cores", "12", "--memory", "4GiB"]
        engine = [sys.executable, str(ENGINE), "--role", role, "--model", str(config), *COMMON, "--port", "0"]
        engine += [word for link in mine for word in ("--link", str(link))]
        programs[name] = two_devices.program("run", *quota, "--", *engine)
    started = {name: Served(program) for name, program in programs.items()}
    for each in ("p0", "p1"):
        eventually(lambda each=each: started[each].ready)  # type: ignore[misc] # bound per turn
    return started


def draining(prefill: Served) -> list[bool]:
    """Of each decode instance, by its link, whether prefill gives it nothing new."""
    return [each["draining"] for each in json.loads(prefill.ask("GET", "/health")[1])["decode"]]


@pytest.mark.timeout(280)
def test_devices_run_a_phase_each_and_pairs_again_and_no_request_is_lost(
    two_devices: Node, engines: dict[str, Served], tmp_path: Path
):
    def url(name: str) -> str:
        return f"{{vnpu: {name}, url: 'http://127.0.0.1:{engines[name].port}'}}"

    def written(mode: str) -> Path:
        file = tmp_path / "pairs.yaml"
        chat = f"model: {tmp_path / 'config.json'}, prefill: [{url('p0')}, {url('p1')}]"
        chat += f", decode: [{url('d0')}, {url('d1')}], minima: 2/3, safe: 12/12"
        file.write_text(f"services: {{chat: {{{chat}}}}}\nmode: {mode}\ndwell: 500ms\n")
        return file

    def cores() -> dict[str, int]:
        return {each.name: each.cores for each in two_devices.client().vnpus()}

    wanted = answers(engines["p0"])  # both devices as they were started: pairs in halves
    file = written("disaggregated")
    controller = Controller(
        read_options({}, file, two_devices.root), reread=lambda: read_options({}, file, two_devices.root)
    )
    with controller:
        eventually(lambda: [engines[name].ready for name in NAMES] == [False, True, True, False])
        eventually(lambda: cores()["p0"] >= 21 and cores()["d1"] >= 22)
        eventually(lambda: draining(engines["p0"]) == [True, False])  # it hears so with a beat of the link
        before = engines["d1"].metric("vllm:generation_tokens_total")
        assert answers(engines["p0"]) == wanted
        assert engines["d1"].metric("vllm:generation_tokens_total") - before == REQUESTS * 59
        with ThreadPoolExecutor() as pool:
            meanwhile = [pool.submit(answers, engines[name]) for name in ("p0", "p1")]
            written("split")
            controller.ask_to_reread()
            assert [each.result() for each in meanwhile] == [wanted, wanted]
        eventually(lambda: all(engines[name].ready for name in NAMES))
    assert cores() == dict.fromkeys(NAMES, 12)
