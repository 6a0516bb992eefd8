# SPDX-License-Identifier: Apache-2.0
"""flexnpu-node-controller: `flexnpu controller` for as long as there are services, by the file that the agent writes.

Other targets, weights or modes reach a controller that runs (SIGHUP), and no engine notices. Other engines need another
controller: the old one leaves the safe cores behind.
"""

from __future__ import annotations

import argparse
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

LOOK_EVERY_S = 0.2
AGAIN_AFTER_S = 5.0  # a controller that ended by itself
ENDS_WITHIN_S = 10.0

_log = logging.getLogger(__name__)
Start = Callable[[Path], "subprocess.Popen[bytes]"]


class Supervisor:
    """One controller at most. start: begins one for that file."""

    def __init__(self, file: Path, start: Start) -> None:
        self._file, self._start = file, start
        self._child: subprocess.Popen[bytes] | None = None
        self._text = ""
        self._engines: object = None
        self._rest = 0.0  # seconds until a controller that ended is begun again

    def look(self) -> None:
        """Does what the file asks for, if that is another thing than before."""
        text = self._read()
        services = (yaml.safe_load(text) or {}).get("services") if text else None
        engines = _engines(services or {})
        if self._child is not None and self._child.poll() is not None:
            _log.warning("the controller ended (%d); again in %g s", self._child.returncode, AGAIN_AFTER_S)
            self._child, self._rest = None, AGAIN_AFTER_S
        if engines != self._engines:
            self.end()
            self._engines, self._rest = engines, 0.0
        elif self._child is not None and text != self._text:
            self._child.send_signal(signal.SIGHUP)
        self._text = text
        if engines and self._child is None:
            self._rest -= LOOK_EVERY_S
            if self._rest <= 0:
                self._child = self._start(self._file)

    def end(self) -> None:
        """It leaves the safe cores behind."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def _read(self) -> str:
        try:
            return self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""


def _engines(services: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each service what a controller cannot change while it runs."""
    lasting = ("model", "prefill", "decode", "engine")
    return {name: {key: told[key] for key in lasting if key in told} for name, told in services.items()}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"flexnpu-node-controller: error: {message}; see flexnpu-node-controller --help\n")


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    made = _Parser(
        prog="flexnpu-node-controller",
        description="Runs flexnpu controller while the file of the node's agent names services.",
    )
    made.add_argument("--services", type=Path, required=True, help="the file that flexnpu-node-agent --services writes")
    return made


def main() -> None:
    """The entry point."""
    given = parser().parse_args()
    logging.basicConfig(format="flexnpu-node-controller: %(message)s", level=logging.INFO)

    def start(file: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "flexnpu.cli.main", "controller", "--config", str(file)])

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    supervisor = Supervisor(given.services, start)
    while not ended.wait(LOOK_EVERY_S):
        supervisor.look()
    supervisor.end()


if __name__ == "__main__":
    main()
