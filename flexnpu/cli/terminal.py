# SPDX-License-Identifier: Apache-2.0
"""A terminal as a screen with keys. However the program ends, but for SIGKILL, the terminal is as it was before."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

# What terminals send for keys that have no character, without the ESC [ or ESC O before it.
_SEQUENCES = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "1~": "home",
    "4~": "end",
    "5~": "pageup",
    "6~": "pagedown",
    "7~": "home",
    "8~": "end",
}
_CHARACTERS = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x1b": "escape"}
_REST_WITHIN_S = 0.05  # of a sequence that has begun; who presses Escape alone waits so long


def has_terminal() -> bool:
    """Whether there is a screen to draw on and a keyboard to listen to."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class Terminal:
    """Use as a context manager, in the main thread. `draw` replaces all that is shown; `key` waits for the next key."""

    def __init__(self) -> None:
        self.console = Console(markup=False, highlight=False)
        self._keyboard = sys.stdin.fileno()
        self._typed = ""
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._woken, self._waker = os.pipe()
            opened.callback(os.close, self._woken)
            opened.callback(os.close, self._waker)
            os.set_blocking(self._waker, False)
            self._before = termios.tcgetattr(self._keyboard)
            opened.callback(termios.tcsetattr, self._keyboard, termios.TCSADRAIN, self._before)
            for number, handler in (
                (signal.SIGTERM, self._end),
                (signal.SIGHUP, self._end),
                (signal.SIGWINCH, lambda *_: self.wake()),
                (signal.SIGTSTP, self._stop),
            ):
                opened.callback(signal.signal, number, signal.signal(number, handler))
            self._show()
            opened.callback(self._hide)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()

    def wake(self) -> None:
        """`key` gives None at once; from any thread, and from signal handlers."""
        try:
            os.write(self._waker, b"!")
        except OSError:  # it is full: somebody is to be woken already, or closed: nobody is
            return

    def draw(self, shown: RenderableType) -> None:
        self._live.update(shown, refresh=True)

    def key(self) -> str | None:
        """A character, or up, down, left, right, pageup, pagedown, home, end, enter, escape, backspace; None when it
        was woken. EOFError when the terminal is gone."""
        while True:
            if self._typed:
                return self._next()
            ready, _, _ = select.select([self._keyboard, self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
                return None
            self._read()

    def _read(self) -> None:
        try:
            typed = os.read(self._keyboard, 1024)
        except OSError as error:
            raise EOFError from error
        if not typed:
            raise EOFError
        self._typed += typed.decode("utf-8", "replace")

    def _next(self) -> str | None:
        first, self._typed = self._typed[0], self._typed[1:]
        if first != "\x1b":
            return _CHARACTERS.get(first, first)
        while len(self._typed) < 4 and not _is_whole(self._typed):
            if not select.select([self._keyboard], [], [], _REST_WITHIN_S)[0]:
                break
            self._read()
        if self._typed[:1] not in ("[", "O"):
            return "escape"
        rest = self._typed[1:]
        for sequence, name in _SEQUENCES.items():
            if rest.startswith(sequence):
                self._typed = rest[len(sequence) :]
                return name
        self._typed = ""  # of a key that has no name here
        return None

    def _show(self) -> None:
        tty.setcbreak(self._keyboard)
        self._live = Live("", console=self.console, screen=True, auto_refresh=False, redirect_stdout=False)
        self._live.start()

    def _hide(self) -> None:
        self._live.stop()

    def _end(self, number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def _stop(self, *_: object) -> None:
        """Ctrl-Z: the shell gets its screen, and we ours when it brings us back."""
        self._hide()
        termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._before)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._show()
        self.wake()


def _is_whole(typed: str) -> bool:
    return any(typed[1:].startswith(sequence) for sequence in _SEQUENCES)
