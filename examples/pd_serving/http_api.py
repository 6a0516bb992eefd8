# SPDX-License-Identifier: Apache-2.0
"""OpenAI's API over HTTP: POST /v1/completions and /v1/chat/completions, GET /v1/models, /health and /metrics; and for
balancers POST /drain and /resume, GET /ready.

A thread per connection, asleep until its request has something to say, so that the engine's own thread has the
interpreter to itself.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from pd_serving import protocol
from pd_serving.answers import Answer, EngineLostError, Piece, pieces
from pd_serving.errors import RequestError
from pd_serving.hangup import Hangups
from pd_serving.ticket import Ticket

_LONGEST_BODY = 4 << 20
_COMPLETIONS, _CHAT = "/v1/completions", "/v1/chat/completions"
_DRAINS = {"/drain": True, "/resume": False}


class Engine(Protocol):
    """What an instance offers over HTTP."""

    protocol: protocol.Protocol
    eos: frozenset[int]
    draining: bool

    @property
    def trouble(self) -> str | None:
        """Why it cannot serve now."""

    def submit(self, ticket: Ticket) -> None:
        """RequestError if it will not."""

    def cancel(self, ticket: Ticket, reason: str) -> None:
        """Nobody wants more of it: reason is "abort" or "stop"."""

    def health(self) -> dict[str, Any]:
        """What /health says beside the status."""

    def page(self) -> bytes: ...


class Server(ThreadingHTTPServer):
    """Listens from the start; answers 503 until the engine serves."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, port: int) -> None:
        self.engine: Engine | None = None
        self.hangups = Hangups()
        self.started = int(time.time())
        super().__init__((host, port), Handler)

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="http", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that hung up is no news
            super().handle_error(request, client_address)


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
            trouble, more = ("starting", {}) if engine is None else (engine.trouble, engine.health())
            status = HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK
            draining = engine is not None and engine.draining
            self._json(status, {"status": trouble or "ok", "draining": draining, **more})
        elif self.path == "/ready":
            self._ready(engine)
        elif self.path not in ("/metrics", "/v1/models"):
            self._refuse_path()
        elif engine is None:
            self._refuse(_unavailable("starting"))
        elif self.path == "/metrics":
            self._answer(HTTPStatus.OK, "text/plain; version=0.0.4", engine.page())
        else:
            self._json(HTTPStatus.OK, self._models(engine))

    def do_POST(self) -> None:
        if self.path in _DRAINS:
            self._drain(_DRAINS[self.path])
            return
        if self.path not in (_COMPLETIONS, _CHAT):
            self._refuse_path()
            return
        try:
            engine = self._serving()
            asked = engine.protocol.read(self._body(), chat=self.path == _CHAT)
            engine.submit(asked.ticket)
        except RequestError as error:
            self._refuse(error)
            return
        with self.server.hangups.watched(self.connection, lambda: engine.cancel(asked.ticket, "abort")):
            answer = Answer(asked, engine.protocol.model)
            found = pieces(asked, engine.protocol.tokenizer, engine.eos, lambda: engine.cancel(asked.ticket, "stop"))
            try:
                if asked.stream:
                    self._stream(answer, found)
                else:
                    self._whole(answer, found)
            except OSError:  # it hung up, and writing told so first
                engine.cancel(asked.ticket, "abort")
                raise

    def _ready(self, engine: Engine | None) -> None:
        """Whether new work is to come here; what comes all the same is served."""
        why = "starting" if engine is None else engine.trouble or ("draining" if engine.draining else None)
        self._json(HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK, {"status": why or "ok"})

    def _drain(self, draining: bool) -> None:
        if (length := self.headers.get("Content-Length")) not in (None, "0"):
            self._refuse(RequestError(f"POST {self.path} takes no body; Content-Length is {length}"))
        elif (engine := self.server.engine) is None:
            self._refuse(_unavailable("starting"))
        else:
            engine.draining = draining
            self._json(HTTPStatus.OK, {"draining": draining})

    def _serving(self) -> Engine:
        engine = self.server.engine
        trouble = "starting" if engine is None else engine.trouble
        if engine is None or trouble:
            raise _unavailable(trouble or "starting")
        return engine

    def _models(self, engine: Engine) -> dict[str, Any]:
        model = {
            "id": engine.protocol.model,
            "object": "model",
            "created": self.server.started,
            "owned_by": "pd_serving",
            "max_model_len": engine.protocol.limits.total,
        }
        return {"object": "list", "data": [model]}

    def _body(self) -> Any:
        length = self.headers.get("Content-Length") or ""
        if not length.isdecimal() or not 0 < int(length) <= _LONGEST_BODY:
            raise RequestError(f"Content-Length is {length or 'not there'}; it must be 1 to {_LONGEST_BODY}")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise RequestError(f"the body is no JSON ({error})") from error

    def _whole(self, answer: Answer, found: Iterator[Piece]) -> None:
        try:
            self._json(HTTPStatus.OK, answer.whole(found))
        except EngineLostError as error:
            self._refuse(_unavailable(str(error)))

    def _stream(self, answer: Answer, found: Iterator[Piece]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in found:
                self._event(answer.chunk(piece))
            if (closing := answer.closing()) is not None:
                self._event(closing)
        except EngineLostError as error:
            self._event(_unavailable(str(error)).body())
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: Any) -> None:
        text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
        line = b"data: " + text.encode() + b"\n\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._answer(status, "application/json", json.dumps(value).encode())

    def _refuse_path(self) -> None:
        there = f"POST {_COMPLETIONS}, {_CHAT}, /drain and /resume, GET /v1/models, /health, /ready and /metrics"
        self._refuse(RequestError(f"no {self.command} {self.path} here; there is {there}", status=HTTPStatus.NOT_FOUND))

    def _refuse(self, error: RequestError) -> None:
        self.close_connection = True  # a body that was not read would be taken for the next request
        self._json(error.status, error.body())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself finds wrong, in OpenAI's shape as well."""
        self._refuse(RequestError(message or HTTPStatus(code).phrase, status=HTTPStatus(code)))

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: a line per request would be most of what the log says."""


def _unavailable(why: str) -> RequestError:
    return RequestError(why, status=HTTPStatus.SERVICE_UNAVAILABLE)
