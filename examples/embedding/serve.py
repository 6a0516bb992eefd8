# SPDX-License-Identifier: Apache-2.0
"""An embedding service in ordinary torch and transformers, with OpenAI's POST /v1/embeddings.

A thread per connection reads and answers; one thread has the model. It takes all texts that wait, up to --max-tokens,
pads them to one batch and answers with the normalised state of each one's last token.
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
import time
from concurrent.futures import Future
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from transformers import AutoConfig, AutoModel, AutoTokenizer

_LONGEST_BODY = 4 << 20
Text = tuple[list[int], "Future[list[float]]", float]  # its ids, where the answer goes, and when it came


class RequestError(Exception):
    """What the client is told, with 400."""


class Encoder:
    """The model, and the texts that wait for it."""

    def __init__(self, options: argparse.Namespace) -> None:
        config = AutoConfig.from_pretrained(options.model)
        self.name, self.vocab, self.longest = options.model.stem, config.vocab_size, options.max_tokens
        self.tokenizer = AutoTokenizer.from_pretrained(options.tokenizer) if options.tokenizer else None
        if options.random_weights is None:
            model = AutoModel.from_pretrained(options.model)
        else:
            torch.manual_seed(options.random_weights)
            model = AutoModel.from_config(config)
        self._device = options.device
        self._model = model.to(getattr(torch, options.dtype)).to(options.device).eval()
        self._waiting: queue.Queue[Text] = queue.Queue()
        self._late: Text | None = None  # taken from the queue, and too long for the batch
        disable_created_metrics()
        self._registry = CollectorRegistry()
        labels = {"labelnames": ["model_name"], "registry": self._registry}
        self._running = Gauge("vllm:num_requests_running", "Texts in the batch.", **labels).labels(self.name)
        Gauge("vllm:num_requests_waiting", "Texts that wait.", **labels).labels(self.name).set_function(self._count)
        self._tokens = Counter("vllm:prompt_tokens", "Tokens encoded.", **labels).labels(self.name)
        self._took = Histogram("vllm:e2e_request_latency_seconds", "Arrival to answer.", **labels).labels(self.name)

    def ids(self, text: object) -> list[int]:
        """Of a text or of token ids. RequestError for anything else."""
        if isinstance(text, str):
            encoded = self.tokenizer(text)["input_ids"] if self.tokenizer else list(text.encode())
        elif isinstance(text, list) and all(isinstance(id_, int) and not isinstance(id_, bool) for id_ in text):
            encoded = text
        else:
            raise RequestError("input must be a text, a list of token ids, or a list of either")
        if not 1 <= len(encoded) <= self.longest:
            raise RequestError(f"a text has {len(encoded)} tokens; it must have 1 to {self.longest}")
        if wrong := next((id_ for id_ in encoded if not 0 <= id_ < self.vocab), None):
            raise RequestError(f"token id {wrong} is out of range; the model has 0 to {self.vocab - 1}")
        return encoded

    def submit(self, ids: list[int]) -> Future[list[float]]:
        answer: Future[list[float]] = Future()
        self._waiting.put((ids, answer, time.monotonic()))
        return answer

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def run(self) -> None:
        """Encodes for ever."""
        while True:
            batch = self._batch()
            self._running.set(len(batch))
            try:
                found = self._encode([ids for ids, _, _ in batch])
            except RuntimeError as error:  # of the device: those who wait are told
                for _, answer, _ in batch:
                    answer.set_exception(error)
                raise
            for (ids, answer, came), vector in zip(batch, found, strict=True):
                answer.set_result(vector)
                self._tokens.inc(len(ids))
                self._took.observe(time.monotonic() - came)
            self._running.set(0)

    def _count(self) -> int:
        return self._waiting.qsize() + (self._late is not None)

    def _batch(self) -> list[Text]:
        """The oldest text, and those after it that fit beside it, padded to the longest."""
        batch = [self._late or self._waiting.get()]
        self._late = None
        longest = len(batch[0][0])
        while not self._waiting.empty():
            text = self._waiting.get()
            longest = max(longest, len(text[0]))
            if longest * (len(batch) + 1) > self.longest:
                self._late = text
                break
            batch.append(text)
        return batch

    @torch.inference_mode()
    def _encode(self, texts: list[list[int]]) -> list[list[float]]:
        width = max(map(len, texts))
        ids = torch.zeros(len(texts), width, dtype=torch.long)
        mask = torch.zeros(len(texts), width, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        states = self._model(input_ids=ids.to(self._device), attention_mask=mask.to(self._device)).last_hidden_state
        rows = torch.arange(len(texts), device=self._device)
        last = states[rows, torch.tensor([len(text) - 1 for text in texts], device=self._device)]
        return torch.nn.functional.normalize(last.float(), dim=-1).cpu().tolist()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    encoder: Encoder


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(HTTPStatus.OK, "text/plain; version=0.0.4", self.server.encoder.page())
        elif self.path == "/health":
            self._json(HTTPStatus.OK, {"status": "ok"})
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": {"message": f"there is no {self.path}"}})

    def do_POST(self) -> None:
        encoder = self.server.encoder
        if self.path != "/v1/embeddings":
            self.close_connection = True  # its body is not read
            self._json(HTTPStatus.NOT_FOUND, {"error": {"message": f"there is no {self.path}"}})
            return
        try:
            texts = _inputs(self._body())
            waiting = [encoder.submit(ids) for ids in [encoder.ids(text) for text in texts]]
        except RequestError as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": {"message": str(error), "type": "invalid_request_error"}})
            return
        data = [
            {"object": "embedding", "index": index, "embedding": each.result()} for index, each in enumerate(waiting)
        ]
        self._json(HTTPStatus.OK, {"object": "list", "model": encoder.name, "data": data})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the metrics tell."""

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LONGEST_BODY:
            self.close_connection = True
            raise RequestError(f"Content-Length is {length!r}; it must be 0 to {_LONGEST_BODY}")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise RequestError(f"the body is no JSON ({error})") from error
        if not isinstance(body, dict) or "input" not in body:
            raise RequestError("the body must be an object with input")
        return body

    def _json(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        self._answer(status, "application/json", json.dumps(body).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _inputs(body: dict[str, Any]) -> list[Any]:
    told = body["input"]
    if isinstance(told, list) and told and not isinstance(told[0], int):
        return told
    return [told]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a folder of weights, or a config.json")
    parser.add_argument("--tokenizer", type=Path, help="its folder; without one, an id is a byte of UTF-8")
    parser.add_argument("--random-weights", type=int, metavar="SEED", help="instead of those of the folder")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--device", default="npu:0")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8300, help="0: any that is free")
    parser.add_argument("--max-tokens", type=int, default=8192, help="of a text, and of a batch with its padding")
    options = parser.parse_args()
    if options.device.startswith("npu"):
        import torch_npu  # noqa: F401, PLC0415 - registers the device
    server = Server((options.host, options.port), Handler)
    server.encoder = Encoder(options)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    print(f"listens on {options.host}:{server.server_port}", flush=True)
    server.encoder.run()


if __name__ == "__main__":
    main()
