# SPDX-License-Identifier: Apache-2.0
"""Both instances of the engine as processes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from engine_client import Client

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
ENGINE = EXAMPLES / "pd_serving" / "engine.py"


class Pair(Client):
    """Use as a context manager. Requests go to prefill."""

    def __init__(self, folder, config, *extra):
        self.link = folder / "link.sock"
        self.log = folder / "engine.log"
        self._common = ["--model", str(config), "--link", str(self.link), "--device", "cpu", "--dtype", "float32"]
        self._common += ["--random-weights", "0", "--max-len", "512", "--token-budget", "512", "--port", "0", *extra]
        starting = [self.begin(role) for role in ("decode", "prefill")]  # both at once: most of it is imports
        (self.decode, self.decode_port), (self.prefill, self.port) = map(self.listening, starting)
        self.until_ready()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def begin(self, role):
        with self.log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, str(ENGINE), "--role", role, *self._common],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def listening(self, process):
        line = process.stdout.readline()
        assert "listens on" in line, self.log.read_text()
        return process, int(line.rsplit(":", 1)[1])

    def until_ready(self):
        deadline = time.monotonic() + 60
        while self.ask("GET", "/health")[0] != 200:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def stop(self):
        for process in (self.prefill, self.decode):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=30) for process in (self.prefill, self.decode)]
