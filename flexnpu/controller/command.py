# SPDX-License-Identifier: Apache-2.0
"""`flexnpu controller`: the loop on running engines, as a command and as an object that a program starts and stops."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TextIO

from flexnpu.client import ControllerState
from flexnpu.controller.admission import HttpAdmission
from flexnpu.controller.config import OptionError, Options
from flexnpu.controller.daemon import DaemonCores
from flexnpu.controller.decision import Decision, Outcome
from flexnpu.controller.follow import DaemonSteps
from flexnpu.controller.hold import HeldCores
from flexnpu.controller.loop import Loop
from flexnpu.controller.publish import Publisher, state_of
from flexnpu.controller.scrape import HttpScraper
from flexnpu.controller.seam import Cores, Seams
from flexnpu.controller.totals import Totals
from flexnpu.errors import FlexNpuError
from flexnpu.paths import RuntimeDir

PAGE_WITHIN = 2.0  # wall seconds that an engine may take for a page of metrics


@dataclass(slots=True)
class Journal:
    """Decisions as JSON lines, and moves and troubles in a line each for people."""

    lines: TextIO | None = None
    people: TextIO | None = None
    _seen_safe: set[int] = field(default_factory=set)  # devices

    def __call__(self, record: Decision | Outcome) -> None:
        if self.lines is not None:
            self._write(self.lines, json.dumps(record.as_dict(), separators=(",", ":")) + "\n")
        if self.people is not None and isinstance(record, Decision):
            self._tell(record)

    def _write(self, lines: TextIO, line: str) -> None:
        """A journal that is full is given up; cores go on being moved."""
        try:
            lines.write(line)
            lines.flush()
        except OSError as error:
            self.lines = None
            self.warn(f"decisions are written no more ({error.strerror})")

    def warn(self, text: str, level: str = "warning") -> None:
        """A line for people; from any thread."""
        self._say(f"flexnpu: {level}: {text}")

    def _say(self, line: str) -> None:
        """Whoever listened may have gone; cores go on being moved."""
        if self.people is None:
            return
        try:
            self.people.write(line + "\n")
            self.people.flush()
        except (OSError, ValueError):
            self.people = None

    def _tell(self, decision: Decision) -> None:
        error = decision.applied.error if decision.applied else None
        entered_safe = decision.mode == "safe" and decision.device not in self._seen_safe
        self._seen_safe.discard(decision.device)
        if decision.mode == "safe":
            self._seen_safe.add(decision.device)
        if not (decision.moved or entered_safe or error):
            return
        took = f" in {decision.applied.wall_seconds * 1e3:.1f} ms" if decision.applied else " (not carried out)"
        failed = f"; NOT applied: {error}" if error else ""
        changes = f"{decision.changes}{took}" if decision.moved else "no move"
        self._say(f"{decision.at:9.3f} s  device {decision.device}  {changes}{failed}  {decision.reason}")


class Controller:
    """The loop in a thread of this process. Use as a context manager, or start() and stop().

    cores: where to move them; the daemon of options.runtime_dir when not given. reread: options as they are by then.
    """

    def __init__(
        self,
        options: Options,
        *,
        cores: Cores | None = None,
        people: TextIO | None = None,
        reread: Callable[[], Options] | None = None,
    ) -> None:
        self._options = reread or (lambda: options)
        self._stop = self._reread = False
        self._news: SimpleQueue[None] = SimpleQueue()  # a signal handler may put into it while the loop takes
        self._services, self._settings = options.services, options.settings
        self._totals = Totals()
        with ExitStack() as opened:
            journal = Journal(_journal_file(options.decisions, opened), people)
            self._held: HeldCores | None = None
            self._publisher: Publisher | None = None
            if cores is None:
                cores = self._held = self._take_hold(options, opened)
                self._publisher = Publisher(_name(options), self._state, options.runtime_dir)
            urls = [each.url for each in options.endpoints if each.url is not None]
            self._scraper = HttpScraper(urls, self._period, PAGE_WITHIN, self._wake)
            self._followed = DaemonSteps(
                [each.vnpu for each in options.endpoints if each.url is None], self._wake, options.runtime_dir
            )
            self._admission = HttpAdmission(journal.warn)
            self._journal = journal
            seams = Seams(
                cores, time.monotonic, self._sleep, self._record, self._scraper, self._followed, self._admission
            )
            self._loop = Loop(options.services, options.settings, seams)
            self._say_what_is_out_of_reach()
            self._opened = opened.pop_all()
        self._thread = threading.Thread(target=self.run, name="flexnpu-controller", daemon=True)

    def run(self) -> None:
        """The loop in the calling thread, until ask_to_stop()."""
        with self._opened:
            for threads in (self._publisher, self._admission, self._scraper, self._followed):
                if threads is not None:
                    self._opened.enter_context(threads)
            try:
                while not self._stop:
                    self._loop.run(lambda: self._stop or self._reread)
                    self._read_anew()
            finally:
                self._loop.close()

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ends the loop after its turn; safe in a signal handler."""
        self._stop = True
        self._wake()

    def ask_to_reread(self) -> None:
        """Takes what `reread` gives over after this turn, for the same engines; safe in a signal handler."""
        self._reread = True
        self._wake()

    def _read_anew(self) -> None:
        if not self._reread or self._stop:
            return
        self._reread = False
        try:
            options = self._options()
            self._change(options)
        except FlexNpuError as error:
            self._journal.warn(f"nothing is changed: {error}")
            return
        self._journal.warn(f"read anew: mode {options.settings.mode}", level="info")
        self._say_what_is_out_of_reach()

    def _change(self, options: Options) -> None:
        """The right to move is there before anything moves, and is given back after."""
        before, moves = self._settings.moves, options.settings.moves
        if self._held is not None and moves and not before:
            self._held.let_move(True)
        try:
            self._loop.change(options.services, options.settings)
        except FlexNpuError:
            moves = before
            raise
        else:
            self._services, self._settings = options.services, options.settings
            if self._publisher is not None:
                self._publisher.state_changed()
        finally:
            if self._held is not None and not moves:
                self._held.let_move(False)

    def _record(self, record: Decision | Outcome) -> None:
        self._journal(record)
        self._totals.add(record)
        if self._publisher is not None:
            self._publisher.tell(record)

    def _state(self) -> ControllerState:
        devices = self._loop.devices
        for device in devices:
            for unit in device.units:
                self._totals.look(unit.service, unit.engines, device.view.scale)
        indexes = [index for device in devices for index in device.view.devices]
        return state_of(self._services, self._settings, indexes, self._totals.told(self._services))

    def _take_hold(self, options: Options, opened: ExitStack) -> HeldCores:
        reached = DaemonCores.connect([each.vnpu for each in options.endpoints], options.runtime_dir)
        opened.callback(reached.close)
        held = HeldCores(reached, RuntimeDir.find(options.runtime_dir).root, moves=options.settings.moves)
        opened.callback(held.release)
        return held

    def _period(self) -> float:
        """Of reading pages, wall seconds."""
        return self._settings.period * self._loop.scale

    def _say_what_is_out_of_reach(self) -> None:
        for line in self._loop.out_of_reach():
            self._journal.warn(line)

    def _sleep(self, seconds: float) -> None:
        """Less where there is news."""
        with suppress(Empty):
            self._news.get(timeout=seconds)
            while True:
                self._news.get_nowait()

    def _wake(self) -> None:
        self._news.put(None)

    def stop(self) -> None:
        """Ends the loop, waits for its safe split to be applied, and closes the journal."""
        self.ask_to_stop()
        if self._thread.ident is None:
            self._opened.close()  # it was never started
        else:
            self._thread.join()

    def __enter__(self) -> Controller:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def run_controller(read: Callable[[], Options], *, quiet: bool = False) -> None:
    """Run until SIGTERM or SIGINT; at SIGHUP what `read` gives is taken over."""
    controller = Controller(read(), people=None if quiet else sys.stderr, reread=read)
    restore = on_signals(controller.ask_to_stop)
    before = signal.signal(signal.SIGHUP, lambda *_: controller.ask_to_reread())
    try:
        controller.run()
    finally:
        signal.signal(signal.SIGHUP, before)
        restore()


def _name(options: Options) -> str:
    """To the daemon: of the service, whose next controller takes the name over; a dry run has one of its own."""
    return options.services[0].name if options.settings.moves else f"observer-{os.getpid()}"


def _journal_file(path: Path | None, opened: ExitStack) -> TextIO | None:
    if path is None:
        return None
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"--decisions {str(path)!r} cannot be written ({error.strerror}); name another file"
        ) from error

    def close() -> None:
        with suppress(OSError):  # what could not be written has been said
            file.close()

    opened.callback(close)
    return file


def on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Stop at SIGTERM and SIGINT; the answer puts the old handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda *_: stop())

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore
