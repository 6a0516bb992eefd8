# SPDX-License-Identifier: Apache-2.0
"""The files of the page, by the address that a browser asks for them at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent / "static"
PREFIX: Final = "/web/"
_INDEX: Final = "index.html"
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    """etag: of the content, in quotes."""

    body: bytes
    media_type: str
    etag: str


def load() -> Mapping[str, File]:
    """All of them: index.html is `/`, the others are under `/web/`. What is no part of the page (licences) is left
    out."""
    found = {path: _MEDIA_TYPES[path.suffix] for path in ROOT.rglob("*") if path.suffix in _MEDIA_TYPES}
    return {_address(path): _file(path, media_type) for path, media_type in sorted(found.items())}


def _address(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    return "/" if name == _INDEX else f"{PREFIX}{name}"


def _file(path: Path, media_type: str) -> File:
    body = path.read_bytes()
    return File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
