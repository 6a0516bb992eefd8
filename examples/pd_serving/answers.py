# SPDX-License-Identifier: Apache-2.0
"""Answers as OpenAI's API shapes them: whole, or as a stream of chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pd_serving.protocol import Asked
from pd_serving.text import TextStream, Tokenizer
from pd_serving.ticket import Event

Json = dict[str, Any]


class EngineLostError(RuntimeError):
    """The engine ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event adds to the answer. reason: why it is the last piece, or None."""

    text: str
    ids: list[int]
    reason: str | None


def pieces(asked: Asked, tokenizer: Tokenizer, eos: frozenset[int], stopped: Callable[[], None]) -> Iterator[Piece]:
    """Until the answer is over; EngineLostError if the engine is. `stopped` is called where a stop string ends it, and
    the engine does not know."""
    text = TextStream(tokenizer, asked.stop)
    while True:
        event = asked.ticket.events.get()
        if event.why is not None:
            raise EngineLostError(event.why)
        said = _said(event, text, eos)
        ids = [] if event.token is None else [event.token]
        if text.stopped:
            if event.reason is None:
                stopped()
            yield Piece(said, ids, "stop")
            return
        yield Piece(said, ids, event.reason)
        if event.reason is not None:
            return


def _said(event: Event, text: TextStream, eos: frozenset[int]) -> str:
    """The end of text is a token without text."""
    ends = event.reason == "stop" and event.token in eos
    said = "" if event.token is None or ends else text.add(event.token)
    return said if event.reason is None or text.stopped else said + text.end()


class Answer:
    """The objects that answer one request."""

    def __init__(self, asked: Asked, model: str) -> None:
        self._asked = asked
        self._count = 0
        kind = "chat.completion" if asked.chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if asked.chat else 'cmpl'}-{asked.ticket.number}",
            "object": kind + (".chunk" if asked.chat and asked.stream else ""),
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, found: Iterator[Piece]) -> Json:
        every = list(found)
        self._count = sum(len(piece.ids) for piece in every)
        text = "".join(piece.text for piece in every)
        said = {"message": {"role": "assistant", "content": text}} if self._asked.chat else {"text": text}
        ids = [token for piece in every for token in piece.ids]
        return {**self._head, "choices": [self._choice(said, ids, every[-1].reason)], **self._usage(), **self._times()}

    def chunk(self, piece: Piece) -> Json:
        said: Json = {"text": piece.text}
        if self._asked.chat:
            said = {"delta": {"content": piece.text} if self._count else {"role": "assistant", "content": piece.text}}
        self._count += len(piece.ids)
        times = self._times() if piece.reason is not None else {}
        usage = self._usage() if self._asked.running_usage else {"usage": None} if self._asked.usage else {}
        return {**self._head, "choices": [self._choice(said, piece.ids, piece.reason)], **usage, **times}

    def closing(self) -> Json | None:
        """A stream's last chunk, which says how many tokens there were, where that was asked for."""
        return {**self._head, "choices": [], **self._usage()} if self._asked.usage else None

    def _choice(self, said: Json, ids: list[int], reason: str | None) -> Json:
        ids_too = {"token_ids": ids} if self._asked.token_ids else {}
        return {"index": 0, **said, "logprobs": None, "finish_reason": reason, **ids_too}

    def _usage(self) -> Json:
        prompt = len(self._asked.ticket.prompt)
        count = {"prompt_tokens": prompt, "completion_tokens": self._count, "total_tokens": prompt + self._count}
        return {"usage": count}

    def _times(self) -> Json:
        """times[i] is when token i was there, on CLOCK_MONOTONIC."""
        ticket = self._asked.ticket
        return {"arrived": ticket.arrived, "token_times": ticket.times[: self._count]} if self._asked.times else {}
