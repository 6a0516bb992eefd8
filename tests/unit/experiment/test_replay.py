# SPDX-License-Identifier: Apache-2.0
"""The replay against a server that answers as the engine does."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flexnpu.experiment.replay import Replay
from flexnpu.simulator import Arrival


class Engine(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((time.monotonic(), body))
        if body["prompt_tokens"] == 404:
            self.send_error(404, "no such thing")
            return
        times = [time.monotonic() + 0.02 * n for n in range(body["max_tokens"])]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'data: {"choices": []}\n\n')
        if body["prompt_tokens"] == 503:
            self.wfile.write(b'data: {"error": {"message": "decode is gone"}}\n\ndata: [DONE]\n\n')
        elif body["prompt_tokens"] != 1:
            self.wfile.write(b"data: " + json.dumps({"choices": [], "token_times": times}).encode() + b"\n\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def engine():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def replay(engine, arrivals, scale=1.0):
    made = Replay(engine.server_port, arrivals, scale, patience=5)
    seen = []
    samples = made.run(lambda: (18, 6), lambda _, sample: seen.append(sample))
    return made, samples, seen


def test_requests_go_out_at_their_time_whatever_became_of_those_before(engine):
    replay(engine, [Arrival(0.0, 10, 2), Arrival(0.3, 11, 3)])
    (first, body), (second, _) = engine.asked
    assert 0.2 < second - first < 0.6
    assert body == {
        "prompt_tokens": 10, "max_tokens": 2, "ignore_eos": True, "stream": True, "return_times": True,
    }  # fmt: skip


def test_times_are_device_seconds_since_the_first_arrival(engine):
    made, _, _ = replay(engine, [Arrival(0.0, 10, 5), Arrival(0.1, 10, 5)], scale=2.0)
    first, second = made.served
    assert first.tpot == pytest.approx(0.01, rel=0.01)
    assert 0 < first.ttft < 0.1
    assert 0 < second.ttft < 0.1
    assert all(each.finished for each in made.served)


def test_samples_follow_the_split_and_the_requests(engine):
    _, samples, seen = replay(engine, [Arrival(0.0, 10, 2)])
    assert tuple(seen) == samples
    assert {(each.prefill, each.decode) for each in samples} == {(18, 6)}


def test_answers_that_fail_are_kept_with_the_reason(engine):
    made, _, _ = replay(engine, [Arrival(0.0, 404, 2), Arrival(0.0, 503, 2), Arrival(0.0, 1, 2)])
    refused, lost, cut = made.served
    assert "404" in refused.why
    assert lost.why == "decode is gone"
    assert cut.why == "the answer ended before its last token"
    assert not any(each.finished for each in made.served)
