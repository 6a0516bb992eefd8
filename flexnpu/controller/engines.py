# SPDX-License-Identifier: Apache-2.0
"""What the loop knows of an engine, whichever way it is observed; and from metrics to requests.

A plain vLLM page has counts but no lengths; then lengths are estimated, and the inputs say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from flexnpu.controller.metrics import EngineMetrics, Served, parse_metrics, parse_served
from flexnpu.controller.seam import Endpoint, ScrapeError
from flexnpu.forecast import Request

Role = Literal["prefill", "decode", "both"]
# A prompt's length before any has been seen: the mean of the Azure code trace.
ASSUMED_TOKENS = 2048
MOST_REQUESTS = 100_000  # that are planned for; what says that it has more has something wrong, or is lost


class Work(NamedTuple):
    """What an engine has before it: prompts, and running requests."""

    prefill: tuple[Request, ...] = ()
    decode: tuple[Request, ...] = ()


class Progress(NamedTuple):
    """Since the turn before. busy: all the time. gaps: between two tokens of a request; gap_seconds: their sum, device
    seconds."""

    busy: bool = False
    prompt_tokens: float = 0.0
    gaps: float = 0.0
    gap_seconds: float = 0.0


class Engine(Protocol):
    """An engine, as one turn sees it. Times are device seconds."""

    endpoint: Endpoint
    role: Role

    def adopt(self, old: Engine) -> None:
        """Know what another one knew, if it was observed in the same way."""

    def stale(self, at: float, limit: float) -> str | None:
        """Why this engine cannot be planned for, or None."""

    def work(self, at: float) -> Work:
        """Prompts, running requests or both, by its role."""

    def describe(self) -> dict[str, object] | None:
        """The inputs as a decision records them, with what had to be assumed; None before it was ever seen."""

    def progress(self, scale: float) -> Progress:
        """scale: wall per device second."""

    def served(self, scale: float) -> Served | None:
        """What it has served so far, as far as is known; None: nothing is known. From any thread."""

    def changes_at(self, at: float) -> float | None:
        """When what it tells becomes another without any news; None: only by news."""


@dataclass(slots=True)
class ScrapedEngine:
    """An engine's last good page, the one before it, and what has gone wrong since."""

    endpoint: Endpoint
    role: Role
    now: EngineMetrics | None = None
    now_at: float = 0.0
    before: EngineMetrics | None = None
    trouble: str | None = None
    text: str | None = None  # of the page

    def take(self, page: str | ScrapeError, at: float) -> None:
        """Keep a page that was read at that device time."""
        try:
            if isinstance(page, ScrapeError):
                raise page
            fresh = parse_metrics(page)
        except ScrapeError as error:
            self.trouble = str(error)
            return
        # Differences over a gap would mix what was done under different splits.
        self.before = None if self.trouble else self.now
        self.now, self.now_at, self.trouble, self.text = fresh, at, None, page

    def adopt(self, old: Engine) -> None:
        if isinstance(old, ScrapedEngine):
            self.now, self.now_at, self.before, self.trouble = old.now, old.now_at, old.before, old.trouble
            self.text = old.text

    def stale(self, at: float, limit: float) -> str | None:
        if self.now is None:
            return f"{self.endpoint.vnpu} has not been observed ({self.trouble or 'no answer yet'})"
        if at - self.now_at > limit:
            why = self.trouble or "no answer since"
            return f"{self.endpoint.vnpu} was last observed {at - self.now_at:.2f} s ago ({why})"
        return None

    def work(self, at: float) -> Work:
        if self.now is None:
            return Work()
        if self.role == "prefill":
            return Work(prefill=_prompts(self.now, running=True))
        if self.role == "decode":
            return Work(decode=_running(self.now, waiting=True))
        return Work(_prompts(self.now, running=False), _running(self.now, waiting=False))

    def describe(self) -> dict[str, object] | None:
        return None if self.now is None else describe(self.now)

    def progress(self, scale: float) -> Progress:
        busy = self.before is not None and self.before.busy and self.now is not None and self.now.busy
        return Progress(busy, self._grown("prompt_tokens"), self._grown("itl_count"), self._grown("itl_sum") / scale)

    def served(self, scale: float) -> Served | None:
        text = self.text
        try:
            return None if text is None else parse_served(text, scale)
        except ScrapeError:  # what is planned with does not need it
            return None

    def changes_at(self, at: float) -> float | None:
        return None

    def _grown(self, field: str) -> float:
        """By how much a counter grew between the last two pages; 0 when unknown or when the engine restarted."""
        ends = [getattr(page, field, None) for page in (self.before, self.now)]
        if self.trouble or ends[0] is None or ends[1] is None:
            return 0.0
        return max(0.0, float(ends[1]) - float(ends[0]))


def _prompts(page: EngineMetrics, *, running: bool) -> tuple[Request, ...]:
    """Prompts that wait, and where running ones are prompts too, those. How far they are is not told; they count in
    full."""
    mean = _mean_prompt(page)
    found = []
    if running and page.running >= 1:
        found.append(Request(mean, 0, _count(page.running)))
    if page.waiting >= 1:
        waiting = max(1, round(page.waiting_tokens / page.waiting)) if page.waiting_tokens else mean
        found.append(Request(waiting, 0, _count(page.waiting)))
    # One new token would be taken for a decode step.
    return tuple(request._replace(new=max(2, request.new)) for request in found)


def _running(page: EngineMetrics, *, waiting: bool) -> tuple[Request, ...]:
    """Requests in the running batch, and where they wait for that alone, those about to join it."""
    count = _count(page.running + (page.waiting if waiting else 0))
    if count < 1:
        return ()
    if page.context_tokens and page.running >= 1:
        context = round(page.context_tokens / page.running)
    else:
        context = _mean_prompt(page)
    return (Request(1, max(1, context), count),)


def _count(requests: float) -> int:
    return int(min(requests, MOST_REQUESTS))


def describe(page: EngineMetrics) -> dict[str, object]:
    """The inputs as a decision records them, with what had to be assumed."""
    lengths = page.waiting_tokens is not None or page.context_tokens is not None
    return {
        "running": page.running,
        "waiting": page.waiting,
        "waiting_tokens": page.waiting_tokens,
        "context_tokens": page.context_tokens,
        "lengths": "observed" if lengths else "assumed",
    }


def _mean_prompt(page: EngineMetrics) -> int:
    if page.prompt_tokens and page.first_tokens:
        return max(1, round(page.prompt_tokens / page.first_tokens))
    return ASSUMED_TOKENS
