# SPDX-License-Identifier: Apache-2.0
"""Bodies of POST /v1/completions and /v1/chat/completions: what is asked, or what is wrong with it.

Beyond OpenAI's fields: ignore_eos and return_token_ids as vLLM has them; prompt_tokens, a prompt of that length,
whatever it says; return_times, when each token was there.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pd_serving.errors import RequestError
from pd_serving.sampling import Sampling
from pd_serving.text import Tokenizer
from pd_serving.ticket import Limits, Ticket

_MOST_STOPS = 4
# Fields that would change the answer, with what they may say where they are not served.
_UNSERVED: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "tools": (None, []),
    "functions": (None, []),
    "response_format": (None, {"type": "text"}),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and how it is to be answered."""

    ticket: Ticket
    chat: bool
    stream: bool
    usage: bool  # a stream says at its end how many tokens there were,
    running_usage: bool  # and at each token how many there are
    stop: tuple[str, ...]
    token_ids: bool
    times: bool


class Protocol:
    """Reads bodies for one model."""

    def __init__(self, model: str, limits: Limits, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.limits = limits

    def read(self, body: Any, *, chat: bool) -> Asked:
        """RequestError says what is wrong with which field."""
        if not isinstance(body, dict):
            raise RequestError(f"the body is a JSON {_kind(body)}; it must be an object")
        self._check_model(body)
        for name, served in _UNSERVED.items():
            if body.get(name) not in served:
                raise RequestError(f"{name} is {_short(body[name])}; only {_short(served[1])} is served here", name)
        prompt = self._messages(body) if chat else self._prompt(body)
        self._check_prompt(prompt, "messages" if chat else "prompt")
        stream = _flag(body, "stream")
        ticket = Ticket(
            prompt, self._max_tokens(body, len(prompt), chat=chat), _flag(body, "ignore_eos"), _sampling(body)
        )
        return Asked(
            ticket,
            chat,
            stream,
            *_wants_usage(body, stream=stream),
            _stop(body),
            _flag(body, "return_token_ids"),
            _flag(body, "return_times"),
        )

    def _check_model(self, body: dict[str, Any]) -> None:
        model = body.get("model")
        if model is not None and model != self.model:
            raise RequestError(
                f"model {_short(model)} is not served here; {self.model!r} is",
                "model",
                status=HTTPStatus.NOT_FOUND,
                code="model_not_found",
            )

    def _prompt(self, body: dict[str, Any]) -> list[int]:
        if "prompt_tokens" in body:
            count = _integer(body, "prompt_tokens", None, 1, self.limits.prompt)
            return [token % self.limits.vocabulary for token in range(count)]
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
            prompt = prompt[0]  # a list of one prompt
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt)
        if isinstance(prompt, list) and prompt and not isinstance(prompt[0], str | list):
            return [self._id(token) for token in prompt]
        if isinstance(prompt, list) and len(prompt) > 1:
            raise RequestError(f"prompt is a list of {len(prompt)} prompts; send one in each request", "prompt")
        raise RequestError(f"prompt is {_short(prompt)}; it must be text or a list of token ids", "prompt")

    def _id(self, token: Any) -> int:
        if type(token) is not int or not 0 <= token < self.limits.vocabulary:
            raise RequestError(
                f"prompt has {_short(token)}; an id is a whole number from 0 to {self.limits.vocabulary - 1}", "prompt"
            )
        return token

    def _messages(self, body: dict[str, Any]) -> list[int]:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise RequestError(f"messages is {_short(messages)}; it must be a list of at least one message", "messages")
        return self.tokenizer.chat([_message(each) for each in messages])

    def _check_prompt(self, prompt: list[int], name: str) -> None:
        if not 1 <= len(prompt) <= self.limits.prompt:
            raise RequestError(
                f"{name} has {len(prompt)} tokens; it must have 1 to {self.limits.prompt}",
                name,
                code="context_length_exceeded" if prompt else None,
            )

    def _max_tokens(self, body: dict[str, Any], prompt: int, *, chat: bool) -> int:
        """Without one: 16 for a completion, as OpenAI has it, and for a chat whatever there is room for."""
        room = self.limits.total - prompt
        name = "max_completion_tokens" if chat and body.get("max_completion_tokens") is not None else "max_tokens"
        wanted = _integer(body, name, room if chat else min(16, room), 1, self.limits.total)
        if wanted > room:
            raise RequestError(
                f"a prompt of {prompt} and {name} of {wanted} tokens; together at most {self.limits.total}",
                name,
                code="context_length_exceeded",
            )
        return wanted


def _message(message: Any) -> dict[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise RequestError(f"messages has {_short(message)}; a message is an object with role and content", "messages")
    content = message.get("content")
    if isinstance(content, list):  # parts; those of text are served
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(map(str, texts)) if len(texts) == len(content) else None
    if not isinstance(content, str):
        raise RequestError(f"messages has content {_short(message.get('content'))}; it must be text", "messages")
    return {"role": message["role"], "content": content}


def _sampling(body: dict[str, Any]) -> Sampling | None:
    """None without a temperature: then nothing is left to chance. (OpenAI's default is 1.)"""
    temperature = _number(body, "temperature", 0.0, 0.0, 2.0)
    top_p = _number(body, "top_p", 1.0, 0.0, 1.0)
    seed = _integer(body, "seed", 0, -(2**63), 2**63 - 1) if body.get("seed") is not None else secrets.randbits(62)
    return Sampling(temperature, top_p, seed) if temperature > 0 else None


def _stop(body: dict[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop")
    found = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(found, list) or len(found) > _MOST_STOPS or not all(isinstance(s, str) and s for s in found):
        raise RequestError(f"stop is {_short(stop)}; it must be a text, or a list of at most {_MOST_STOPS}", "stop")
    return tuple(found)


def _wants_usage(body: dict[str, Any], *, stream: bool) -> tuple[bool, bool]:
    """At the end, and all along, which vLLM has beyond OpenAI."""
    options = body.get("stream_options")
    if options is None:
        return False, False
    if not isinstance(options, dict):
        raise RequestError(f"stream_options is {_short(options)}; it must be an object", "stream_options")
    if not stream:
        raise RequestError("stream_options is there and stream is not true", "stream_options")
    usage = _flag(options, "include_usage")
    return usage, usage and _flag(options, "continuous_usage_stats")


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and type(value) is not bool:
        raise RequestError(f"{name} is {_short(value)}; it must be true or false", name)
    return bool(value)


def _integer(body: dict[str, Any], name: str, default: int | None, least: int, most: int) -> int:
    value = body.get(name)
    value = default if value is None else value
    if type(value) is not int or not least <= value <= most:
        raise RequestError(f"{name} is {_short(value)}; it must be a whole number from {least} to {most}", name)
    return value


def _number(body: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = body.get(name)
    value = default if value is None else value
    if type(value) not in (int, float) or not math.isfinite(value) or not least <= value <= most:
        raise RequestError(f"{name} is {_short(value)}; it must be a number from {least:g} to {most:g}", name)
    return float(value)


def _short(value: Any) -> str:
    text = "not there" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    return {list: "array", str: "string", type(None): "null"}.get(type(value), type(value).__name__)
