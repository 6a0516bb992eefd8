# SPDX-License-Identifier: Apache-2.0
"""A public load generator, guidellm, against the serving example on a paced software NPU; `make check-load` runs it.

    flexnpu softnpu run --clock paced --math skip -- python tests/load/drive.py --guidellm PATH [--json FILE]

The engines have Qwen2.5-7B's shape and skip its mathematics. guidellm, in an environment of its own, streams chats and
says what it measured. It fails unless every request was answered in full and every one has a TTFT and an ITL. The times
are the model's, on a clock that this host may be too slow for: they are not looked at.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "pd_serving"
MODEL = EXAMPLE / "qwen2.5-7b.json"
START_WITHIN = 180.0  # seconds


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="flexnpu-load-") as name, _engines(Path(name)) as port:
        report = _drive(options, Path(name), port)
        answered = _metric(port, "vllm:request_success_total")
    benchmark = report["benchmarks"][0]
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(_summary(benchmark), indent=1) + "\n")
    troubles = check(benchmark, options.requests, options.output, answered)
    for trouble in troubles:
        print(f"check-load: {trouble}", file=sys.stderr)
    return 1 if troubles else 0


def check(benchmark: dict[str, Any], requests: int, output: int, answered: float) -> list[str]:
    """What is wrong with what guidellm saw, and with what the engine counted."""
    totals = benchmark["metrics"]["request_totals"]
    done = benchmark["requests"]["successful"]
    wrong = []
    if (totals["successful"], totals["errored"], totals["incomplete"]) != (requests, 0, 0):
        wrong.append(f"of {requests} requests {totals} were answered, failed or broke off")
    if answered < requests:
        wrong.append(f"the engine counts {answered:g} answers, of {requests}")
    for name in ("time_to_first_token_ms", "inter_token_latency_ms"):
        missing = sum(not (request.get(name) or 0) > 0 for request in done)
        if missing:
            wrong.append(f"{missing} of {len(done)} requests have no {name}")
    short = sum(request["output_tokens"] != output for request in done)
    if short:
        wrong.append(f"{short} of {len(done)} answers do not have {output} tokens")
    return wrong


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description="guidellm against the serving example.")
    made.add_argument("--guidellm", type=Path, required=True, help="its command")
    made.add_argument("--requests", type=int, default=48)
    made.add_argument("--streams", type=int, default=8, help="requests at a time")
    made.add_argument("--prompt", type=int, default=600, help="tokens")
    made.add_argument("--output", type=int, default=40, help="tokens")
    made.add_argument("--json", type=Path, help="what guidellm measured")
    return made.parse_args()


@contextmanager
def _engines(folder: Path) -> Iterator[int]:
    """A pair of instances on the NPU; the port that takes requests."""
    port = _free_port()
    common = ["--model", str(MODEL), "--link", str(folder / "link")]
    ports = {"decode": 0, "prefill": port}
    started = []
    try:
        for role, number in ports.items():
            command = [sys.executable, str(EXAMPLE / "engine.py"), "--role", role, "--port", str(number), *common]
            share = ["--cache-blocks", "192", "--chunk", "2048", *(["--graphs"] if role == "decode" else [])]
            started.append(subprocess.Popen([*command, *share], env={**os.environ, "OMP_NUM_THREADS": "1"}))
        _wait(port, started)
        yield port
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(timeout=60)


def _wait(port: int, started: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + START_WITHIN
    while not _healthy(port):
        if time.monotonic() > end or any(process.poll() is not None for process in started):
            raise SystemExit(f"check-load: the engines are not there after {START_WITHIN:g} s, or have ended")
        time.sleep(0.2)


def _healthy(port: int) -> bool:
    try:
        return _get(port, "/health")[0] == 200
    except OSError:
        return False


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def _metric(port: int, name: str) -> float:
    lines = _get(port, "/metrics")[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


def _drive(options: argparse.Namespace, folder: Path, port: int) -> Any:
    _save_tokenizer(folder / "bytes")
    report = folder / "report.json"
    command = [
        str(options.guidellm), "run", "--disable-console-interactive",
        "--backend", f"kind=openai_http,target=http://127.0.0.1:{port}",
        "--tokenizer", f"kind=huggingface_auto,model={folder / 'bytes'}",
        "--data", f"kind=synthetic_text,prompt_tokens={options.prompt},output_tokens={options.output}",
        "--profile", f"kind=concurrent,streams={options.streams}",
        "--constraint", f"kind=max_requests,count={options.requests}",
        "--output", "kind=console", "--output", f"kind=json,path={report}",
    ]  # fmt: skip
    print(" ".join(command), flush=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    # Nothing is looked up at Hugging Face: there may be no network.
    subprocess.run(command, check=True, env={**environment, "HF_HUB_OFFLINE": "1"}, timeout=900)
    return json.loads(report.read_text())


def _save_tokenizer(folder: Path) -> None:
    """A token for each byte, as the engine has it: guidellm counts with it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 - slow
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({byte: number for number, byte in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    shutil.rmtree(folder, ignore_errors=True)
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)


def _summary(benchmark: dict[str, Any]) -> dict[str, Any]:
    names = ("time_to_first_token_ms", "inter_token_latency_ms", "request_latency", "output_tokens_per_second")
    metrics = benchmark["metrics"]
    found = {name: metrics[name]["successful"] for name in names}
    chosen = {name: {"mean": each["mean"], "p99": each["percentiles"]["p99"]} for name, each in found.items()}
    return {
        "note": "modelled on the software NPU, as guidellm saw it; not of an NPU",
        "requests": metrics["request_totals"],
        **chosen,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
