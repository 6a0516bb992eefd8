# SPDX-License-Identifier: Apache-2.0
"""An embedding service beside a language model on one device, each with targets of its own, under one controller."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from local_node import Node, eventually
from serving import COMMON, ENGINE, EXAMPLES, MODEL, Served, answers

from flexnpu.controller.command import Controller
from flexnpu.controller.config import read_options
from flexnpu.paths import library_dir

ENCODER = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 300,
    "max_position_embeddings": 1024, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "initializer_range": 0.2,
    "torch_dtype": "float32",
}  # fmt: skip
TEXTS = [[(3 * row + i) % 300 for i in range(20 + 30 * row)] for row in range(5)]
MINIMA = {"prefill": 2, "decode": 3, "embed": 2}


@pytest.fixture
def node() -> Iterator[Node]:
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    made = Node(parent / "run", library_dir())
    made.start("--soc", "Ascend910B2")
    yield made
    made.clean_up()
    shutil.rmtree(parent)


@pytest.fixture
def services(node: Node, tmp_path: Path) -> dict[str, Served]:
    models = {"chat": MODEL, "encoder": ENCODER}
    for name, model in models.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(model))
    link = ["--link", str(tmp_path / "link")]
    chat = [str(ENGINE), "--model", str(tmp_path / "chat.json"), *COMMON, *link]
    encoder = [str(EXAMPLES / "embedding" / "serve.py"), "--model", str(tmp_path / "encoder.json")]
    programs = {
        "decode": [*chat, "--role", "decode"],
        "prefill": [*chat, "--role", "prefill"],
        "embed": [*encoder, "--random-weights", "1", "--max-tokens", "1024"],
    }
    started = {}
    for name, program in programs.items():
        quota = ["--name", name, "--cores", "8", "--memory", "4GiB"]
        started[name] = node.program("run", *quota, "--", sys.executable, *program, "--port", "0")
    found = {name: Served(program) for name, program in started.items()}
    eventually(lambda: found["prefill"].ready)
    return found


def embedded(service: Served, *, times: int = 1) -> list[list[float]]:
    for _ in range(times):
        status, text = service.ask("POST", "/v1/embeddings", {"input": TEXTS})
        assert status == 200, text
    return [each["embedding"] for each in json.loads(text)["data"]]


@pytest.mark.timeout(200)
def test_each_gets_what_it_needs_keeps_its_minimum_and_answers_as_if_it_were_alone(
    node: Node, services: dict[str, Served], tmp_path: Path
):
    def engine(name: str) -> str:
        return f"{{vnpu: {name}, url: 'http://127.0.0.1:{services[name].port}'}}"

    def cores() -> dict[str, int]:
        return {each.name: each.cores for each in node.client().vnpus()}

    def held() -> dict[str, int]:
        now = cores()
        assert sum(now.values()) <= 24
        assert all(now[name] >= least for name, least in MINIMA.items()), now
        return now

    alone = embedded(services["embed"]), answers(services["prefill"])
    pair = f"prefill: {engine('prefill')}, decode: {engine('decode')}, minima: 2/3, safe: 8/8"
    file = tmp_path / "services.yaml"
    file.write_text(
        "services:\n"
        f"  chat: {{model: {tmp_path / 'chat.json'}, {pair}}}\n"
        f"  embed: {{model: {tmp_path / 'encoder.json'}, engine: {engine('embed')}, minima: 2, safe: 8}}\n"
    )
    with Controller(read_options({}, file, node.root)), ThreadPoolExecutor() as pool:
        eventually(lambda: held() != dict.fromkeys(MINIMA, 8))
        embeddings = pool.submit(embedded, services["embed"], times=40)
        tokens = [pool.submit(answers, services["prefill"]) for _ in range(2)]
        seen = []
        while not all(each.done() for each in (embeddings, *tokens)):
            seen.append(held())
        assert np.allclose(embeddings.result(), alone[0], atol=1e-4)
        assert [each.result() for each in tokens] == [alone[1]] * 2
        assert len({tuple(each.values()) for each in seen}) > 1, "cores moved while both served"
    assert cores() == dict.fromkeys(MINIMA, 8)
