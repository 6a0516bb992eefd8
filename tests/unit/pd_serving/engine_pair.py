# SPDX-License-Identifier: Apache-2.0
"""Both instances of the engine as processes."""

import http.client
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
ENGINE = EXAMPLES / "pd_serving" / "engine.py"


class Pair:
    """Both instances as processes."""

    def __init__(self, folder, config, *extra):
        self.link = folder / "link.sock"
        self.log = folder / "engine.log"
        self._common = ["--model", str(config), "--link", str(self.link), "--device", "cpu", "--dtype", "float32"]
        self._common += ["--random-weights", "0", "--max-len", "512", "--token-budget", "512", "--port", "0", *extra]
        self.decode, self.decode_port = self.start("decode")
        self.prefill, self.prefill_port = self.start("prefill")
        self.until_ready()

    def start(self, role):
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, str(ENGINE), "--role", role, *self._common],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        line = process.stdout.readline()
        assert "listens on" in line, self.log.read_text()
        return process, int(line.rsplit(":", 1)[1])

    def until_ready(self):
        deadline = time.monotonic() + 60
        while self.ask("GET", "/health")[0] != 200:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def ask(self, method, path, body=None, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.prefill_port, timeout=60)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def complete(self, **fields):
        status, text = self.ask("POST", "/v1/completions", fields)
        return status, json.loads(text)

    def stop(self):
        for process in (self.prefill, self.decode):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=30) for process in (self.prefill, self.decode)]
