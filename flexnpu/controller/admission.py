# SPDX-License-Identifier: Apache-2.0
"""Tells engines whether to take new work: POST /resume or /drain. What they have they finish in either case."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from flexnpu.controller.seam import ScrapeError

_AGAIN_EVERY_S = 1.0  # an engine that was started anew takes everything
_ANSWER_WITHIN_S = 2.0
_AT_ONCE = 16


class HttpAdmission:
    """Asks from a thread of its own while it is entered; `complain` is called once per trouble of an engine."""

    def __init__(self, complain: Callable[[str], object]) -> None:
        self._complain = complain
        self._changed = threading.Condition()
        self._wanted: dict[str, bool] = {}
        self._told: dict[str, bool] = {}
        self._troubled: set[str] = set()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="flexnpu-admission", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After what was wanted last has been told."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(3 * _ANSWER_WITHIN_S)

    def want(self, takes: Mapping[str, bool]) -> None:
        with self._changed:
            if takes == self._wanted:
                return
            self._wanted = dict(takes)
            self._changed.notify()

    def _run(self) -> None:
        ending = False
        while not ending:
            with self._changed:
                while not self._ending and self._told == self._wanted:
                    self._changed.wait(_AGAIN_EVERY_S)
                    if not all(self._wanted.values()):
                        break
                wanted, ending = dict(self._wanted), self._ending
            with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:  # one that hangs holds up nobody else
                for url, takes in wanted.items():
                    pool.submit(self._tell, url, takes)
            with self._changed:
                self._told = wanted

    def _tell(self, url: str, takes: bool) -> None:
        try:
            _post(url, "/resume" if takes else "/drain")
        except (OSError, http.client.HTTPException, ValueError, ScrapeError) as error:
            if url not in self._troubled:
                self._complain(f"{url} cannot be told to {'take' if takes else 'leave'} new work ({error})")
            self._troubled.add(url)
        else:
            self._troubled.discard(url)


def _post(url: str, path: str) -> None:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=_ANSWER_WITHIN_S)
    try:
        connection.request("POST", path, body=b"", headers={"Content-Length": "0"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise ScrapeError(f"POST {path} answers {answer.status} {answer.reason}; it must answer 200")
    finally:
        connection.close()
