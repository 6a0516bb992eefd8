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
from typing import Any

import pytest
from local_node import Node, Program, eventually

from flexnpu.controller.command import Controller
from flexnpu.controller.config import read_options
from flexnpu.paths import library_dir

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "pd_serving"))
from engine_client import Client  # noqa: E402 - of the serving example's tests

ENGINE = ROOT / "examples" / "pd_serving" / "engine.py"
MODEL = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300,
    "max_position_embeddings": 1024, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    "eos_token_id": 3, "initializer_range": 0.2, "torch_dtype": "float32",
}  # fmt: skip
COMMON = ["--dtype", "float32", "--random-weights", "0", "--max-len", "512", "--cache-blocks", "40", "--max-batch", "8"]
NAMES = ("d0", "d1", "p0", "p1")
REQUESTS = 6


class Engine(Client):
    """One of the instances."""

    def __init__(self, program: Program) -> None:
        assert program.process.stdout is not None
        self.program = program
        self.port = next(int(line.rsplit(":", 1)[1]) for line in program.process.stdout if "listens on" in line)

    @property
    def ready(self) -> bool:
        return bool(self.ask("GET", "/ready")[0] == 200)


@pytest.fixture
def two_devices() -> Iterator[Node]:
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", library_dir())
    node.start("--soc", "Ascend910B2", "--devices", "2")
    yield node
    node.clean_up()
    shutil.rmtree(parent)


@pytest.fixture
def engines(two_devices: Node, tmp_path: Path) -> dict[str, Engine]:
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
    started = {name: Engine(program) for name, program in programs.items()}
    for each in ("p0", "p1"):
        eventually(lambda each=each: started[each].ready)  # type: ignore[misc] # bound per turn
    return started


def asked(number: int) -> dict[str, Any]:
    return {"prompt": [(7 * number + i) % 300 for i in range(3 + 41 * number)], "max_tokens": 60, "ignore_eos": True}


def answers(engine: Engine) -> list[list[int]]:
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(lambda number: engine.tokens(**asked(number)), range(REQUESTS)))


@pytest.mark.timeout(280)
def test_devices_run_a_phase_each_and_pairs_again_and_no_request_is_lost(
    two_devices: Node, engines: dict[str, Engine], tmp_path: Path
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
