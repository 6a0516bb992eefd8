# SPDX-License-Identifier: Apache-2.0
"""HTTP for both instances: POST /v1/completions (prefill only), GET /health, GET /metrics.

A thread per request, asleep until its request has something to say, so that the engine's own thread has the interpreter
to itself.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from pd_serving.ticket import RequestError, Ticket

_LONGEST_BODY = 4 << 20


class Engine(Protocol):
    """What an instance offers over HTTP."""

    @property
    def trouble(self) -> str | None:
        """Why it cannot serve now."""

    def submit(self, body: Any) -> Ticket:
        """RequestError if it will not."""

    def page(self) -> bytes: ...


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1 from the start; answers 503 until the engine serves."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int) -> None:
        self.engine: Engine | None = None
        super().__init__(("127.0.0.1", port), Handler)

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="http", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        engine = self.server.engine
        if self.path == "/health":
            trouble = "starting" if engine is None else engine.trouble
            self._json(HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK, {"status": trouble or "ok"})
        elif self.path == "/metrics" and engine is not None:
            self._answer(HTTPStatus.OK, "text/plain; version=0.0.4", engine.page())
        elif self.path == "/metrics":
            self._error(HTTPStatus.SERVICE_UNAVAILABLE, "starting")
        else:
            self._error(HTTPStatus.NOT_FOUND, f"no {self.path} here; there are /v1/completions, /health and /metrics")

    def do_POST(self) -> None:
        if self.path != "/v1/completions":
            self._error(HTTPStatus.NOT_FOUND, f"no {self.path} to post to; there is /v1/completions")
            return
        engine = self.server.engine
        trouble = "starting" if engine is None else engine.trouble
        if engine is None or trouble:
            self._error(HTTPStatus.SERVICE_UNAVAILABLE, trouble or "starting")
            return
        try:
            ticket = engine.submit(self._body())
        except RequestError as error:
            self._error(HTTPStatus.BAD_REQUEST, str(error))
            return
        if ticket.stream:
            self._stream(ticket)
        else:
            self._whole(ticket)

    def _body(self) -> Any:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= _LONGEST_BODY:
            raise RequestError(f"Content-Length is {length}; it must be 1 to {_LONGEST_BODY}")
        try:
            return json.loads(self.rfile.read(length))
        except ValueError as error:
            raise RequestError(f"the body is no JSON ({error})") from error

    def _whole(self, ticket: Ticket) -> None:
        event = ticket.events.get()
        if "error" in event:
            self._error(HTTPStatus.SERVICE_UNAVAILABLE, event["error"])
        else:
            self._json(HTTPStatus.OK, summary(ticket, event["finish_reason"]))

    def _stream(self, ticket: Ticket) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in _events(ticket):
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._answer(status, "application/json", json.dumps(value).encode())

    def _error(self, status: HTTPStatus, message: str) -> None:
        self.close_connection = True  # a body that was not read would be taken for the next request
        self._json(status, {"error": {"code": int(status), "message": message}})

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: a line per request would be most of what the log says."""


def _events(ticket: Ticket) -> Iterator[dict[str, Any]]:
    while True:
        event = ticket.events.get()
        if "finish_reason" in event:
            yield summary(ticket, event["finish_reason"])
            return
        yield event
        if "error" in event:
            return


def summary(ticket: Ticket, reason: str) -> dict[str, Any]:
    """The answer to a request that ended. token_times[i] is when token i was there, on CLOCK_MONOTONIC."""
    return {
        "id": f"cmpl-{ticket.number}",
        "object": "text_completion",
        "choices": [{"index": 0, "token_ids": ticket.tokens, "finish_reason": reason}],
        "usage": {"prompt_tokens": len(ticket.prompt), "completion_tokens": len(ticket.tokens)},
        "arrived": ticket.arrived,
        "token_times": ticket.times,
    }
