# SPDX-License-Identifier: Apache-2.0
"""A program on a terminal of its own, of which a test sees the screen and presses the keys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping

import pyte


class Screen:
    """Use as a context manager. The program is the leader of a session whose terminal this is."""

    def __init__(self, command: list[str], env: Mapping[str, str], lines: int = 24, columns: int = 150) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        _resize(slave, lines, columns)
        self.settings = termios.tcgetattr(slave)
        self._slave = slave
        environment = {**env, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - tests with a screen have no threads
        )

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._slave)
        os.close(self._master)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, lines: int, columns: int) -> None:
        self._screen.resize(lines, columns)
        _resize(self._master, lines, columns)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    def until(self, condition: Callable[[list[str]], object], within: float = 30.0) -> list[str]:
        """The lines once the condition holds for them."""
        end = time.monotonic() + within
        while not condition(self.lines):
            assert time.monotonic() < end, "\n".join(self.lines)
            self._read(0.05)
        return self.lines

    def end(self) -> int:
        """The exit status, when it ends by itself; all that it wrote is on the screen then."""
        while self.process.poll() is None:
            self._read(0.05)
        self._read(0)
        return self.process.returncode

    def settings_now(self) -> list[object]:
        return termios.tcgetattr(self._slave)

    def _read(self, within: float) -> None:
        with contextlib.suppress(OSError):
            while select.select([self._master], [], [], within)[0]:
                data = os.read(self._master, 65536)
                self.raw += data
                self._stream.feed(data)
                within = 0


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)


def _resize(handle: int, lines: int, columns: int) -> None:
    fcntl.ioctl(handle, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
