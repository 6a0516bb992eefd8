# SPDX-License-Identifier: Apache-2.0
"""The serving example's instances on two software NPUs, with exact mathematics: a prefill instance with a decode
instance on its own device and one on another gives the tokens of a single engine, whoever hangs or dies meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

INSTANCES = f"""
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
REQUESTS, TOKENS = 8, 100

def start(role, *more):
    command = [sys.executable, str(ENGINE), "--role", role, *COMMON, "--model", str(folder / "config.json"), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

def line(process, word):
    return next(line for line in process.stdout if word in line)

def port(process):
    return int(line(process, "listens").rsplit(":", 1)[1])

def asked(number):
    drawn = dict(temperature=0.8, top_p=0.9, seed=number) if number % 2 else dict()
    prompt = [(7 * number + i) % 300 for i in range(3 + 41 * number)]
    return dict(prompt=prompt, max_tokens=TOKENS, ignore_eos=True, **drawn)

def tokens_of(engine):
    tickets = [engine.protocol.read(asked(number), chat=False).ticket for number in range(REQUESTS)]
    for ticket in tickets:
        engine.submit(ticket)
    threading.Thread(target=engine.run, daemon=True).start()
    for ticket in tickets:
        while ticket.events.get(timeout=60).reason is None:
            pass
    return [ticket.tokens for ticket in tickets]

def answers(meanwhile=None):
    got = [None] * REQUESTS
    def ask(number):
        got[number] = client.tokens(**asked(number))
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(REQUESTS)]
    for thread in threads:
        thread.start()
    if meanwhile is not None:
        client.eventually(lambda: client.metric("vllm:num_requests_running", near_port) >= 2)
        meanwhile()
    for thread in threads:
        thread.join()
    return got

def let_go():
    for each in (client.port, near_port, far_port):
        client.until("vllm:kv_cache_usage_perc", 0, each)

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    links = [["--link", str(folder / link)] for link in ("near", "far")]
    near = start("decode", *links[0], "--graphs", "--steps-ahead", "3")
    far = start("decode", *links[1], "--device", "npu:1", "--steps-ahead", "2")
    prefill = start("prefill", *links[0], *links[1], "--give-up", "2")
    client = Client()
    near_port, far_port, client.port = map(port, (near, far, prefill))
    by = sorted(line(prefill, "hands") for _ in links)
    single = make(parser().parse_args(["--role", "both", *COMMON, "--graphs", "--model", str(folder / "config.json")]))
    wanted = tokens_of(single)
    BODY
    for process in (prefill, near, far):
        process.send_signal(signal.SIGTERM)
    ended = [process.wait(timeout=30) for process in (prefill, near, far)]
single.stop()
print(json.dumps([wanted, got, by, ended]))
"""

BOTH = """
    got = [answers()]
    shares = [client.metric("vllm:generation_tokens_total", each) for each in (near_port, far_port)]
    assert min(shares) > 0 and sum(shares) == REQUESTS * (TOKENS - 1), shares
    let_go()
    prefill.kill()  # what it shared is decode's to let go of, and the next one shares its own
    prefill.wait()
    for counter in Path("/dev/shm").glob(f"torch_{prefill.pid}_*"):  # torch's, which a killed process leaves
        counter.unlink()
    prefill = start("prefill", *links[0], *links[1])
    client.port = port(prefill)
    by += [line(prefill, "hands") for _ in links]
    got.append(answers())
    let_go()
"""

HANGS = """
    def hang():
        near.send_signal(signal.SIGSTOP)
    got = [answers(hang)]
    client.until("pd:decode_instances", 1)
    near.send_signal(signal.SIGCONT)
    client.until("pd:decode_instances", 2)
    let_go()
    got.append(answers())
    let_go()
    got.append(answers(near.kill))
    assert client.metric("vllm:num_preemptions_total") >= 4
    client.until("vllm:kv_cache_usage_perc", 0)
"""


@pytest.mark.parametrize(("body", "last"), [(BOTH, 0), (HANGS, -9)])
def test_a_decode_on_the_same_device_and_one_on_another_give_the_tokens_of_a_single_engine(on_device, body, last):
    wanted, got, by, ended = on_device(INSTANCES.replace("    BODY\n", body), devices=2)
    assert len({tuple(each) for each in wanted}) == len(wanted)
    assert got == [wanted] * len(got)
    assert sum("near through NPU memory that decode reads" in each for each in by) == len(by) // 2
    assert sum("far through host memory" in each for each in by) == len(by) // 2
    assert ended == [0, last, 0]
