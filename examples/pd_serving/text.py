# SPDX-License-Identifier: Apache-2.0
"""Text to ids and back: a tokenizer of a Hugging Face folder, or bytes where there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pd_serving.errors import ConfigError, RequestError

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # at the end: a character whose last bytes are in a later token
_LONGEST = 4  # ids that one character may take; more that end in none are none
_MESSAGE = "<|{role}|>\n{content}\n"


class Tokenizer(Protocol):
    """Messages are {"role": …, "content": …}, both text."""

    def encode(self, text: str) -> list[int]: ...

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """With whatever makes the model answer at the end."""

    def decode(self, ids: Sequence[int]) -> str: ...


class ByteTokenizer:
    """An id below 256 is that byte of UTF-8; any other id has no text of its own and is written as <id>.

    It makes a model without a tokenizer answer: one with random weights, say.
    """

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary

    def encode(self, text: str) -> list[int]:
        ids = list(text.encode("utf-8", "replace"))
        if max(ids, default=0) >= self._vocabulary:
            raise RequestError(
                f"this model has {self._vocabulary} ids, too few for text as bytes; send token ids, or start the "
                "engine with --tokenizer",
                "prompt",
            )
        return ids

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        return self.encode("".join(_MESSAGE.format(**each) for each in messages) + "<|assistant|>\n")

    def decode(self, ids: Sequence[int]) -> str:
        pieces = (bytes((each,)) if each < 256 else b"<%d>" % each for each in ids)
        return b"".join(pieces).decode("utf-8", "replace")


class FolderTokenizer:
    """A tokenizer as transformers saves one."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer  # noqa: PLC0415 - slow to import, and not always wanted

        if not folder.is_dir():
            raise ConfigError(f"--tokenizer {str(folder)!r} is no folder; name one with a tokenizer.json")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"--tokenizer {str(folder)!r} has no tokenizer that transformers reads ({error})"
            ) from error

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text))

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        if not self._tokenizer.chat_template:
            raise RequestError("this model's tokenizer has no chat template; use /v1/completions", "messages")
        text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def tokenizer_for(folder: Path | None, weights: Path | None, vocabulary: int) -> Tokenizer:
    """The named folder's, or that of the weights, or bytes."""
    if folder is None and weights is not None and (weights / "tokenizer.json").is_file():
        folder = weights
    return ByteTokenizer(vocabulary) if folder is None else FolderTokenizer(folder)


class TextStream:
    """Tokens in, text out, as soon as it is certain, up to the first of the stop strings."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = re.compile("|".join(map(re.escape, stop))) if stop else None
        self._longest = max(map(len, stop), default=0)
        self._ids: list[int] = []
        self._told = 0  # characters of what _ids give that are in _held or beyond
        self._since = 0  # ids that have been added since
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """What may be said now."""
        self._ids.append(token)
        self._since += 1
        text = self._tokenizer.decode(self._ids)
        if not text.endswith(_UNFINISHED) or self._since >= _LONGEST:
            self._held += text[self._told :]
            self._told, self._since = len(text), 0
            self._forget()
        return self._release(keep=self._longest - 1)

    def end(self) -> str:
        """The rest."""
        self._held += self._tokenizer.decode(self._ids)[self._told :]
        self._ids, self._told = [], 0
        return self._release(keep=0)

    def _forget(self) -> None:
        """Keeps the last id: how some tokenizers write one depends on the one before."""
        if len(self._ids) > 16:
            self._ids = self._ids[-1:]
            self._told = len(self._tokenizer.decode(self._ids))

    def _release(self, keep: int) -> str:
        """All that is held but the last `keep` characters, which may be the beginning of a stop string."""
        if self.stopped:
            return ""
        found = self._stop.search(self._held) if self._stop else None
        if found:
            self.stopped = True
            return self._held[: found.start()]
        cut = max(0, len(self._held) - max(0, keep))
        said, self._held = self._held[:cut], self._held[cut:]
        return said
