# SPDX-License-Identifier: Apache-2.0
"""A request on its way through the engine, and what comes back to whoever asked. Times are CLOCK_MONOTONIC seconds."""

from __future__ import annotations

import itertools
import queue
import time
from dataclasses import dataclass, field
from typing import Any

_numbers = itertools.count(1)


class RequestError(ValueError):
    """A request that cannot be served."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    vocabulary: int
    prompt: int
    total: int


@dataclass(slots=True, eq=False)
class Ticket:
    """One request: its prompt, its tokens so far, and the queue that its handler thread sleeps on."""

    prompt: list[int]
    max_tokens: int
    ignore_eos: bool
    stream: bool
    number: int = field(default_factory=lambda: next(_numbers))
    arrived: float = field(default_factory=time.monotonic)
    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    events: queue.SimpleQueue[dict[str, Any]] = field(default_factory=queue.SimpleQueue)

    def first_token(self, token: int, at: float) -> None:
        self.tokens.append(token)
        self.times.append(at)
        if self.stream:
            self.events.put({"token": token, "time": at})

    def finish(self, tokens: list[int], times: list[float], reason: str) -> None:
        """The tokens that decode added, and why there are no more."""
        self.tokens += tokens
        self.times += times
        self.events.put({"finish_reason": reason})

    def fail(self, why: str) -> None:
        self.events.put({"error": why})


def parse(body: Any, limits: Limits) -> Ticket:
    """From a JSON body of POST /v1/completions; RequestError says what is wrong with which field."""
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    prompt = _prompt(body, limits)
    max_tokens = _integer(body, "max_tokens", 16, 1, limits.total)
    if len(prompt) + max_tokens > limits.total:
        raise RequestError(
            f"prompt of {len(prompt)} and max_tokens of {max_tokens} tokens; together at most {limits.total}"
        )
    return Ticket(prompt, max_tokens, bool(body.get("ignore_eos", False)), bool(body.get("stream", False)))


def _prompt(body: dict[str, Any], limits: Limits) -> list[int]:
    ids = body.get("prompt_token_ids")
    if ids is None:
        count = _integer(body, "prompt_tokens", None, 1, limits.prompt)
        return [token % limits.vocabulary for token in range(count)]
    if not isinstance(ids, list) or not 1 <= len(ids) <= limits.prompt:
        raise RequestError(f"prompt_token_ids must be a list of 1 to {limits.prompt} ids")
    for token in ids:
        if type(token) is not int or not 0 <= token < limits.vocabulary:
            raise RequestError(
                f"prompt_token_ids has {token!r}; an id is a whole number from 0 to {limits.vocabulary - 1}"
            )
    return ids


def _integer(body: dict[str, Any], name: str, default: int | None, least: int, most: int) -> int:
    value = body.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise RequestError(f"{name} is {value!r}; it must be a whole number from {least} to {most}")
    return value
