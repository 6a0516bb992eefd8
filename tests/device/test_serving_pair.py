# SPDX-License-Identifier: Apache-2.0
"""The serving example's two instances on the software NPU, with exact mathematics: the tokens of a single engine,
however keys and values go over."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAIR = f"""
import signal, subprocess, sys, tempfile, threading
from pathlib import Path
sys.path[:0] = [{str(ROOT / "examples")!r}, {str(ROOT / "tests" / "unit" / "pd_serving")!r}]
from engine_client import Client
from engine_pair import ENGINE
from pd_serving.instance import make
from pd_serving.options import parser

CONFIG = dict(model_type="qwen2", hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
              num_key_value_heads=2, vocab_size=300, eos_token_id=3, initializer_range=0.2)
# In fp32 no two logits are so near each other that it matters who else is in a matrix product.
COMMON = "--dtype float32 --random-weights 0 --max-len 512 --cache-blocks 40 --chunk 90 --max-batch 8 --port 0".split()

def start(role, *more):
    command = [sys.executable, str(ENGINE), "--role", role, *COMMON, "--model", str(folder / "config.json"), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

def lines_until(process, word):
    lines = [next(process.stdout)]
    while word not in lines[-1]:
        lines.append(next(process.stdout))
    return lines[-1]

def asked(number):
    drawn = dict(temperature=0.8, top_p=0.9, seed=number) if number % 2 else dict()
    prompt = [(7 * number + i) % 300 for i in range(3 + 41 * number)]
    return dict(prompt=prompt, max_tokens=12, ignore_eos=True, **drawn)

def tokens_of(engine, count=8):
    tickets = [engine.protocol.read(asked(number), chat=False).ticket for number in range(count)]
    for ticket in tickets:
        engine.submit(ticket)
    threading.Thread(target=engine.run, daemon=True).start()
    for ticket in tickets:
        while ticket.events.get(timeout=60).reason is None:
            pass
    return [ticket.tokens for ticket in tickets]

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    link = ["--link", str(folder / "link")]
    decode = start("decode", *link, *DECODE)
    prefill = start("prefill", *link)
    client = Client()
    client.port = int(lines_until(prefill, "listens").rsplit(":", 1)[1])
    by = lines_until(prefill, "hands")
    single = make(parser().parse_args(["--role", "both", *COMMON, "--graphs", "--model", str(folder / "config.json")]))
    wanted = tokens_of(single)
    got = [None] * len(wanted)
    def ask(number):
        got[number] = client.tokens(**asked(number))
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.until("vllm:kv_cache_usage_perc", 0)
    if KILL:  # what it shared is decode's to let go of, and the next one shares its own
        prefill.kill()
        prefill.wait()
        for counter in Path("/dev/shm").glob(f"torch_{{prefill.pid}}_*"):  # torch's, which a killed process leaves
            counter.unlink()
        prefill = start("prefill", *link)
        client.port = int(lines_until(prefill, "listens").rsplit(":", 1)[1])
        lines_until(prefill, "hands")
        got[1] = client.tokens(**asked(1))
    for process in (prefill, decode):
        process.send_signal(signal.SIGTERM)
    ended = [process.wait(timeout=30) for process in (prefill, decode)]
single.stop()
print(json.dumps([wanted, got, by, ended]))
"""


@pytest.mark.parametrize(
    ("decode", "kill", "through"),
    [
        (["--graphs"], True, "NPU memory that decode reads"),
        (["--device", "npu:1"], False, "host memory"),
    ],
)
def test_a_pair_gives_the_tokens_of_a_single_engine(on_device, decode, kill, through):
    wanted, got, by, ended = on_device(f"DECODE, KILL = {decode}, {kill}\n" + PAIR, devices=2)
    assert got == wanted
    assert len({tuple(each) for each in wanted}) == len(wanted)
    assert through in by
    assert ended == [0, 0]
