# SPDX-License-Identifier: Apache-2.0
"""Where a daemon's admin API is, and how it is spoken to: over the socket of a runtime directory, or at a URL."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from flexnpu.connection import Connection, NobodyThere
from flexnpu.errors import InvalidValue, NoDaemon
from flexnpu.paths import RuntimeDir

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_MOST_TOKEN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`url` with what belongs to it, or the runtime directory. cert_file: a client certificate and its key, PEM."""

    runtime_dir: str | Path | None = None
    url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None

    @classmethod
    def find(cls, runtime_dir: str | Path | None, environ: Mapping[str, str]) -> Endpoint:
        """`runtime_dir` where it is given, else $FLEXNPU_URL, else the runtime directory of this host."""
        url = environ.get("FLEXNPU_URL")
        if runtime_dir is not None or not url:
            return cls(runtime_dir)

        def file(text: str | None) -> Path | None:
            return Path(text) if text else None

        return cls(
            url=url,
            token_file=file(environ.get("FLEXNPU_TOKEN_FILE")),
            ca_file=file(environ.get("FLEXNPU_CA_FILE")),
            cert_file=file(environ.get("FLEXNPU_CERT_FILE")),
        )

    @property
    def paths(self) -> RuntimeDir:
        """Of this host's daemon; InvalidValue for one at a URL."""
        if self.url is not None:
            raise InvalidValue(
                f"the daemon at {self.url} is reached by its API alone, and this needs its runtime directory",
                next_step="run it on that host, or unset FLEXNPU_URL",
            )
        return RuntimeDir.find(self.runtime_dir)

    def connect(self, timeout_s: float) -> Connection:
        """timeout_s: to connect."""
        if self.url is None:
            return Connection.over_unix(str(self.paths.admin_socket), timeout_s)
        where, token = _checked(self.url), self._token()
        if token and where.scheme == "http" and where.hostname not in _LOOPBACK:
            raise InvalidValue(f"{self.url} would show the token to others", next_step="use https")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return Connection.over_tcp(where, timeout_s, self._tls() if where.scheme == "https" else None, headers)

    def nobody_there(self, error: NobodyThere) -> NoDaemon:
        if self.url is None:
            next_step = "start flexnpud, or set FLEXNPU_RUNTIME_DIR"
            return NoDaemon(f"no daemon listens in {self.paths.root}", next_step=next_step)
        return NoDaemon(
            f"no daemon can be reached at {self.url} ({error})", next_step="check the URL and FLEXNPU_CA_FILE"
        )

    def _token(self) -> str | None:
        if self.token_file is None:
            return None
        text = _text(self.token_file, "token file").strip()
        if not (text.isascii() and text.isprintable() and 0 < len(text) <= _MOST_TOKEN_BYTES) or " " in text:
            raise InvalidValue(
                f"token file {self.token_file} holds no token", next_step="write the token alone into it"
            )
        return text

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or error
            raise InvalidValue(
                f"FLEXNPU_CA_FILE or FLEXNPU_CERT_FILE cannot be used ({why})", next_step="name PEM files"
            ) from error
        return context


def _checked(url: str) -> SplitResult:
    where = urlsplit(url)
    if where.scheme not in ("http", "https") or not where.hostname or where.path.strip("/") or where.query:
        raise InvalidValue(f"FLEXNPU_URL {url!r} is no URL of a daemon", next_step="write it like https://HOST:PORT")
    return where


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not ASCII"
        raise InvalidValue(f"{what} {path} cannot be read ({why})", next_step="name another file") from error
