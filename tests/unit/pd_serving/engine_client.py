# SPDX-License-Identifier: Apache-2.0
"""How the tests talk to an engine over HTTP."""

import http.client
import json
import socket
import time
from contextlib import contextmanager


@contextmanager
def client(engine, port=None, **fields):
    """One that has asked, and hangs up in the end."""
    body = json.dumps({"ignore_eos": True, **fields}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", port or engine.port)) as connection:
        connection.sendall(head + body)
        yield connection


class Client:
    """`port` is where requests go."""

    port: int

    def ask(self, method, path, body=None, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=60)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def complete(self, **fields):
        status, text = self.ask("POST", "/v1/completions", {"return_token_ids": True, **fields})
        return status, json.loads(text)

    def tokens(self, **fields):
        status, answer = self.complete(**fields)
        assert status == 200, answer
        return answer["choices"][0]["token_ids"]

    def stream(self, path="/v1/completions", **fields):
        """The JSON of each event; the last one says that there are no more."""
        status, text = self.ask("POST", path, {"stream": True, **fields})
        assert status == 200, text
        *events, last, rest = text.split("\n\n")
        assert (last, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def metric(self, name, port=None, **labels):
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        for line in self.ask("GET", "/metrics", port=port)[1].splitlines():
            if line.startswith(name + "{") and all(label in line for label in wanted):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no {name} {labels}")

    def until(self, name, value, port=None, **labels):
        self.eventually(lambda: self.metric(name, port, **labels) == value, (name, value))

    def eventually(self, holds, what=""):
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, what
            time.sleep(0.01)
