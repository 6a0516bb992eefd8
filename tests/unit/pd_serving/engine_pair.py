# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode instances of the engine as processes."""

import json
import signal
import time

from engine_client import Client
from warm_engine import ENGINE, WarmEngine

EXAMPLES = ENGINE.parents[1]


def arguments(role, config, links, *extra):
    """On the CPU, with a seed's weights."""
    options = [word for link in links for word in ("--link", str(link))]
    options += ["--model", str(config), "--device", "cpu", "--dtype", "float32", "--random-weights", "0"]
    options += ["--max-len", "512", "--token-budget", "512", "--port", "0"]
    return ["--role", role, *options, *extra]


class Pair(Client):
    """Use as a context manager. Requests go to the first prefill instance, and each of those hands over to every decode
    instance. in_turn: prefill begins when decode is there; else all begin at once, since most of it is imports."""

    def __init__(self, folder, config, *extra, prefills=1, decodes=1, in_turn=False):
        self.links = [folder / f"link{number}.sock" for number in range(decodes)]
        self.log = folder / "engine.log"
        self._config, self._extra = config, extra
        starting = [self.begin("decode", number) for number in range(decodes)]
        started = [self.listening(each) for each in starting] if in_turn else []
        starting += [self.begin("prefill") for _ in range(prefills)]
        started += [self.listening(each) for each in starting[len(started) :]]
        self.decodes, self.decode_ports = (list(column) for column in zip(*started[:decodes], strict=True))
        self.prefills, self.ports = (list(column) for column in zip(*started[decodes:], strict=True))
        for port in self.ports:
            self.until_ready(port)

    @property
    def port(self):
        return self.ports[0]

    @property
    def decode_port(self):
        return self.decode_ports[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def begin(self, role, number=0):
        """number: of a decode instance."""
        links = self.links if role == "prefill" else [self.links[number]]
        return WarmEngine(arguments(role, self._config, links, *self._extra), self.log)

    def listening(self, process):
        line = process.stdout.readline()
        assert "listens on" in line, self.log.read_text()
        return process, int(line.rsplit(":", 1)[1])

    def decode_again(self, number=0):
        """One that has been killed."""
        self.decodes[number].wait(timeout=30)
        self.decodes[number], self.decode_ports[number] = self.listening(self.begin("decode", number))

    def states(self, port=None):
        """Of the decode instances, as prefill sees them."""
        return [each["state"] for each in json.loads(self.ask("GET", "/health", port=port)[1]).get("decode", [])]

    def draining(self):
        """Of the decode instances, as prefill knows."""
        return [each.get("draining") for each in json.loads(self.ask("GET", "/health")[1])["decode"]]

    def until_states(self, wanted, port=None, within=60):
        deadline = time.monotonic() + within
        while self.states(port) != wanted:
            assert time.monotonic() < deadline, (self.ask("GET", "/health", port=port), self.log.read_text())
            time.sleep(0.02)

    def until_ready(self, port=None):
        self.until_states(["ready"] * len(self.links), port)

    def stop(self):
        """What each ended with: prefill first."""
        every = self.prefills + self.decodes
        for process in every:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=60) for process in every]
