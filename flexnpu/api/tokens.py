# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens: how they are made, and the file of their hashes.

A line of the file is NAME SCOPE sha256:HEX; empty lines and those that begin with # are skipped. A token is 256 random
bits, which nobody guesses, so its hash needs no salt and no slow function.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flexnpu.api.callers import READER, WRITER, Scope
from flexnpu.errors import InvalidValue

_PREFIX: Final = "flexnpu_"  # so that scanners for leaked secrets can tell what it is
_LINE: Final = re.compile(r"(\S{1,64})\s+(read|write)\s+sha256:([0-9a-f]{64})")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SCOPES: Final[dict[str, frozenset[Scope]]] = {"read": READER, "write": WRITER}


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is known, without the token. Who may write may read."""

    name: str
    scopes: frozenset[Scope]
    digest: str


def make(name: str, scope: str) -> tuple[str, str]:
    """A new token, and its line for the file."""
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            f"name {name!r} is not usable for a token",
            next_step="use letters, digits, '.', '_', '@' or '-', at most 64",
        )
    if scope not in _SCOPES:
        raise InvalidValue(f"scope {scope!r} is not known", next_step=f"use {' or '.join(_SCOPES)}")
    token = _PREFIX + secrets.token_urlsafe(32)
    return token, f"{name} {scope} sha256:{_digest(token.encode())}"


class TokenFile:
    """The tokens of a file as it was when it was last read without error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens = _read(path)

    def reload(self) -> int:
        """How many there are. InvalidValue when the file cannot be used; then those that were known stay."""
        self._tokens = _read(self._path)
        return len(self._tokens)

    def holds(self, digest: str) -> bool:
        """Whether a token of that digest is still among them."""
        return any(each.digest == digest for each in self._tokens)

    def find(self, token: bytes) -> Token | None:
        """Takes as long for a token that is wrong as for one that is right."""
        digest, found = _digest(token), None
        for each in self._tokens:
            if hmac.compare_digest(each.digest, digest):
                found = each
        return found


def _digest(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()


def _read(path: Path) -> tuple[Token, ...]:
    try:
        with path.open(encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidValue(f"tokens {path} cannot be read ({why})", next_step="name another file") from error
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InvalidValue(
            f"tokens {path} can be changed by others (uid {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o})",
            next_step=f"chmod 600 {path}, and let it belong to the daemon's user or root",
        )
    return tuple(_parsed(path, text))


def _parsed(path: Path, text: str) -> Iterator[Token]:
    names = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = _LINE.fullmatch(line.strip())
        if fields is None:
            raise InvalidValue(
                f"tokens {path}, line {number}: not NAME read|write sha256:HEX", next_step="see flexnpu token --help"
            )
        name, scope, digest = fields.groups()
        if name in names:
            raise InvalidValue(
                f"tokens {path}, line {number}: {name} is there twice", next_step="give each its own name"
            )
        names.add(name)
        yield Token(name, _SCOPES[scope], digest)
