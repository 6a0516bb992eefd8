# SPDX-License-Identifier: Apache-2.0
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flexnpu.controller.admission import HttpAdmission


@pytest.fixture
def engine():
    """A real server that keeps what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.asked.append(self.path)
            self.send_response(self.server.answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answer = [], 200
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_engine_is_told_what_is_wanted_and_the_last_of_it_before_the_end(engine):
    with HttpAdmission(pytest.fail) as admission:
        admission.want({engine.url: False})
        until(lambda: engine.asked[:1] == ["/drain"])
        admission.want({engine.url: True})
    assert engine.asked[-1] == "/resume"


def test_it_is_told_again_since_it_may_have_been_started_anew(engine):
    with HttpAdmission(pytest.fail) as admission:
        admission.want({engine.url: False})
        until(lambda: engine.asked == ["/drain"] * 2)


def test_one_that_does_not_understand_is_complained_of_once(engine):
    engine.answer = 404
    complaints = []
    with HttpAdmission(complaints.append) as admission:
        admission.want({engine.url: False})
        until(lambda: len(engine.asked) == 2)
    assert len(complaints) == 1
    assert f"{engine.url} cannot be told to leave new work (POST /drain answers 404" in complaints[0]


def test_nothing_is_asked_where_nothing_is_wanted(engine):
    with HttpAdmission(pytest.fail):
        time.sleep(0.05)
    assert engine.asked == []
