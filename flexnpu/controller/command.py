# SPDX-License-Identifier: Apache-2.0
"""`flexnpu controller`: the loop on running engines, as a command and as an object that a program starts and stops."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TextIO
from urllib.parse import urlsplit

from flexnpu.controller.daemon import DaemonCores
from flexnpu.controller.decision import Decision, Outcome
from flexnpu.controller.loop import Loop, Settings
from flexnpu.controller.scrape import HttpScraper
from flexnpu.controller.seam import Cores, Endpoint, Seams
from flexnpu.errors import InvalidValue
from flexnpu.forecast import Forecaster
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.planner import Split, Targets

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class OptionError(InvalidValue):
    """An option of the command that cannot be read."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `flexnpu controller` was asked for. Times are device seconds."""

    prefill: Endpoint
    decode: Endpoint
    model: ModelShape
    settings: Settings
    decisions: Path | None = None
    runtime_dir: Path | None = None


@dataclass(slots=True)
class Journal:
    """Decisions as JSON lines, and moves and troubles in a line each for people."""

    lines: TextIO | None = None
    people: TextIO | None = None
    _seen_safe: bool = field(default=False)

    def __call__(self, record: Decision | Outcome) -> None:
        if self.lines is not None:
            self.lines.write(json.dumps(record.as_dict(), separators=(",", ":")) + "\n")
            self.lines.flush()
        if self.people is not None and isinstance(record, Decision):
            self._tell(record, self.people)

    def _tell(self, decision: Decision, people: TextIO) -> None:
        error = decision.applied.error if decision.applied else None
        entered_safe = decision.mode == "safe" and not self._seen_safe
        self._seen_safe = decision.mode == "safe"
        if not (decision.moved or entered_safe or error):
            return
        split = (
            f"{decision.before.prefill}/{decision.before.decode} -> {decision.after.prefill}/{decision.after.decode}"
        )
        took = f" in {decision.applied.wall_seconds * 1e3:.1f} ms" if decision.applied else ""
        failed = f"; NOT applied: {error}" if error else ""
        people.write(f"{decision.at:9.3f} s  prefill/decode {split}{took}{failed}  {decision.reason}\n")
        people.flush()


class Controller:
    """The loop in a thread of this process. Use as a context manager, or start() and stop().

    cores: where to move them; the daemon of options.runtime_dir when not given.
    """

    def __init__(self, options: Options, *, cores: Cores | None = None, people: TextIO | None = None) -> None:
        reached: Cores = cores or DaemonCores.connect(options.prefill.vnpu, options.decode.vnpu, options.runtime_dir)
        view = reached.look()
        self._stop = threading.Event()
        # Two periods, so that one slow page is not yet a stale one; a host under load needs some wall time for it.
        self._scraper = HttpScraper(timeout=max(0.25, 2 * options.settings.period * view.scale))
        self._lines = _journal_file(options.decisions)
        self._loop = Loop(
            options.prefill,
            options.decode,
            Forecaster(options.model, load_soc(view.soc)),
            options.settings,
            Seams(reached, self._scraper, time.monotonic, self._stop.wait, Journal(self._lines, people)),
        )
        self._thread = threading.Thread(target=self.run, name="flexnpu-controller", daemon=True)

    @property
    def settings(self) -> Settings:
        return self._loop.settings

    def run(self) -> None:
        """The loop in the calling thread, until ask_to_stop()."""
        try:
            self._loop.run(self._stop.is_set)
        finally:
            self._scraper.close()
            if self._lines is not None:
                self._lines.close()

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ends the loop after its turn; safe in a signal handler."""
        self._stop.set()

    def stop(self) -> None:
        """Ends the loop, waits for its safe split to be applied, and closes the journal."""
        self.ask_to_stop()
        self._thread.join()

    def __enter__(self) -> Controller:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def run_controller(  # noqa: PLR0913 - one parameter per option of the command
    prefill: str,
    decode: str,
    model: str | Path,
    ttft: str = "1s",
    itl: str = "50ms",
    *,
    decisions: Path | None = None,
    runtime_dir: Path | None = None,
    period: str = "50ms",
    safe: str | None = None,
    minima: str | None = None,
    quiet: bool = False,
) -> None:
    """Run until SIGTERM or SIGINT. prefill and decode are NAME=URL; safe and minima are PREFILL/DECODE cores."""
    options = Options(
        prefill=parse_endpoint(prefill, "--prefill"),
        decode=parse_endpoint(decode, "--decode"),
        model=ModelShape.from_config(model),
        settings=Settings(
            targets=Targets(ttft=parse_duration(ttft, "--ttft"), itl=parse_duration(itl, "--itl")),
            period=parse_duration(period, "--period"),
            safe=parse_split(safe, "--safe") if safe else None,
            minima=parse_split(minima, "--minima") if minima else None,
        ),
        decisions=decisions,
        runtime_dir=runtime_dir,
    )
    controller = Controller(options, people=None if quiet else sys.stderr)
    restore = on_signals(controller.ask_to_stop)
    try:
        controller.run()
    finally:
        restore()


def parse_endpoint(text: str, option: str) -> Endpoint:
    """NAME=http://HOST:PORT."""
    name, _, url = text.partition("=")
    try:
        where = urlsplit(url)
        valid = bool(name) and where.scheme == "http" and bool(where.hostname) and where.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise OptionError(f"{option} {text!r}; it must be NAME=URL, such as prefill=http://127.0.0.1:8100")
    return Endpoint(name, url)


def parse_duration(text: str, option: str) -> float:
    """A number with us, ms or s."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)", text)
    if not found or float(found[1]) == 0:
        raise OptionError(f"{option} {text!r}; it must be a time over 0 with its unit, such as 1s or 50ms")
    return float(found[1]) * _UNITS[found[2]]


def parse_split(text: str, option: str) -> Split:
    """PREFILL/DECODE cores."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found:
        raise OptionError(f"{option} {text!r}; it must be PREFILL/DECODE cores, such as 12/12")
    return Split(int(found[1]), int(found[2]))


def _journal_file(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"--decisions {str(path)!r} cannot be written ({error.strerror}); name another file"
        ) from error


def on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Stop at SIGTERM and SIGINT; the answer puts the old handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda *_: stop())

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore
