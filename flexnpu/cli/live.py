# SPDX-License-Identifier: Apache-2.0
"""What is shown again and again: on a terminal a screen with keys, elsewhere one picture after the other."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.console import Group, RenderableType
from rich.text import Text

from flexnpu.cli.listing import Listing
from flexnpu.cli.output import print_json, print_json_line, show
from flexnpu.cli.terminal import Terminal, has_terminal
from flexnpu.errors import DaemonError, InvalidValue

_Sight = TypeVar("_Sight")
_Row = TypeVar("_Row")

LEAST_INTERVAL_S, MOST_INTERVAL_S = 0.05, 60.0
_FIRST_INTERVAL_S = 0.2  # of a screen: who starts it does not want to wait


@dataclass(frozen=True)
class Board(Generic[_Sight, _Row]):
    """look: what there was over the next so many seconds. head: lines above the rows. plain: for
    --json."""

    look: Callable[[float], _Sight]
    head: Callable[[_Sight], Sequence[Text]]
    rows: Callable[[_Sight], Sequence[_Row]]
    listing: Listing[_Row]
    plain: Callable[[_Sight], object]

    def run(self, interval: float, *, once: bool, as_json: bool) -> None:
        """Until q, a signal, or the reader of our output has gone. once: one picture."""
        if not LEAST_INTERVAL_S <= interval <= MOST_INTERVAL_S:
            allowed = f"{LEAST_INTERVAL_S:g} to {MOST_INTERVAL_S:g} seconds"
            raise InvalidValue(f"--interval {interval:g} is out of range", next_step=f"give {allowed}, or leave it out")
        if not (once or as_json) and has_terminal():
            _Screen(self, interval).run()
            return
        while True:
            self._print(self.look(interval), once=once, as_json=as_json)
            if once:
                return

    def _print(self, sight: _Sight, *, once: bool, as_json: bool) -> None:
        if as_json:
            (print_json if once else print_json_line)(self.plain(sight))
        else:
            show(*self.head(sight), self.listing.draw(self.rows(sight)))
        sys.stdout.flush()


class _Screen(Generic[_Sight, _Row]):
    """A thread looks; this one draws what it saw last, and heeds the keys."""

    def __init__(self, board: Board[_Sight, _Row], interval: float) -> None:
        self._board, self._interval = board, interval
        self._sight: _Sight | None = None
        self._trouble: Exception | None = None
        self._is_paused = self._needs_help = self._ended = False

    def run(self) -> None:
        # What cannot be done at all is an error, and no screen.
        self._see(self._board.look(min(self._interval, _FIRST_INTERVAL_S)))
        with Terminal() as terminal:
            looking = threading.Thread(target=self._look, args=(terminal.wake,), daemon=True)
            looking.start()
            try:
                self._serve(terminal)
            except EOFError:
                return
            finally:
                self._ended = True

    def _serve(self, terminal: Terminal) -> None:
        while True:
            terminal.draw(self._picture(*terminal.console.size))
            key = terminal.key()
            if self._trouble is not None and not isinstance(self._trouble, DaemonError):
                raise self._trouble
            if key == "q" and not self._board.listing.is_typing:
                return
            if key is not None:
                self._press(key)

    def _press(self, key: str) -> None:
        if self._board.listing.is_typing:
            self._board.listing.press(key)
        elif key == " ":
            self._is_paused = not self._is_paused
        elif key in ("?", "h"):
            self._needs_help = not self._needs_help
        elif key in ("+", "-"):
            changed = self._interval * (2 if key == "+" else 0.5)
            self._interval = min(MOST_INTERVAL_S, max(LEAST_INTERVAL_S, changed))
        else:
            self._board.listing.press(key)

    def _look(self, wake: Callable[[], None]) -> None:
        while not self._ended:
            try:
                self._see(self._board.look(self._interval))
            except DaemonError as error:  # it may come back
                self._trouble = error
                threading.Event().wait(self._interval)
            except Exception as error:  # raised again where it ends the program
                self._trouble = error
                wake()
                return
            wake()

    def _see(self, sight: _Sight) -> None:
        self._trouble = None
        if not self._is_paused:
            self._sight = sight

    def _picture(self, width: int, height: int) -> RenderableType:
        assert self._sight is not None
        head = list(self._board.head(self._sight))
        foot = self._help() if self._needs_help else [self._status()]
        rows = self._board.rows(self._sight)
        table = self._board.listing.draw(rows, max(2, height - len(head) - len(foot)), width)
        return Group(*head, *foot, table)

    def _status(self) -> Text:
        listing = self._board.listing
        if self._trouble is not None:
            return Text(str(self._trouble), style="bold red", no_wrap=True)
        if listing.is_typing:
            return Text(f"filter: {listing.filter}_", style="reverse", no_wrap=True)
        parts = [f"every {self._interval:g} s", "? help", "q quit"]
        if listing.filter:
            parts.insert(0, f"filter: {listing.filter}")
        if self._is_paused:
            parts.insert(0, "PAUSED")
        return Text("  ".join(parts), style="dim", no_wrap=True)

    def _help(self) -> list[Text]:
        return [
            Text(line, no_wrap=True, overflow="ellipsis")
            for line in (
                f"sort: {self._board.listing.keys}; again: the other way; < > the column beside it",
                "/ filter by name, escape without; up down pageup pagedown home end; space pause; + - interval; ? back",
            )
        ]
