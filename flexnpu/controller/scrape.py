# SPDX-License-Identifier: Apache-2.0
"""Engines' pages, over connections that stay open.

http.client, because it costs a fraction of what a full client does, and the loop shares its host with the engines.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from flexnpu.controller.seam import Page, ScrapeError
from flexnpu.controller.watchers import Watchers

_LONGEST_PAGE = 8 << 20
_PART = 1 << 16


class HttpScraper(Watchers):
    """Reads GET /metrics of each URL once a period while it is entered, each from a thread of its own, so that an
    engine that is slow or gone costs nobody else anything; `news` is called for each page, from the threads.

    every: wall seconds of a period, asked anew each time. timeout: of one page, connecting included.
    """

    def __init__(
        self,
        urls: Sequence[str],
        every: Callable[[], float],
        timeout: float,
        news: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(dict.fromkeys(urls), "scrape", 2 * timeout)
        self._every, self._timeout, self._news, self._clock = every, timeout, news, clock
        self._fresh: dict[str, Page] = {}

    def fresh(self) -> Mapping[str, Page]:
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            return fresh

    def _run(self, name: str) -> None:
        kept: http.client.HTTPConnection | None = None
        due = self._clock()
        while not self._stop.wait(max(0.0, due - self._clock())):
            due = self._clock() + self._every()
            text, kept = self._one(name, kept)
            with self._lock:
                self._fresh[name] = Page(text, self._clock())
            self._news()
        if kept is not None:
            kept.close()

    def _one(
        self, url: str, kept: http.client.HTTPConnection | None
    ) -> tuple[str | ScrapeError, http.client.HTTPConnection | None]:
        """The page, and the connection if it may be used again."""
        try:
            try:
                return self._get(url, kept or self._connect(url))
            except (http.client.HTTPException, ConnectionError):
                if kept is None:
                    raise
                return self._get(url, self._connect(url))  # the engine had closed the connection that was kept
        except (OSError, http.client.HTTPException, ValueError) as error:
            return ScrapeError(f"{url}: {str(error) or type(error).__name__}"), None
        except ScrapeError as error:
            return error, None

    def _get(self, url: str, connection: http.client.HTTPConnection) -> tuple[str, http.client.HTTPConnection]:
        end = self._clock() + self._timeout
        try:
            connection.request("GET", "/metrics", headers={"Accept": "text/plain"})
            return self._body(url, connection.getresponse(), end), connection
        except BaseException:
            connection.close()
            raise

    def _body(self, url: str, answer: http.client.HTTPResponse, end: float) -> str:
        if answer.status != http.client.OK:
            raise ScrapeError(f"{url}: /metrics answers {answer.status} {answer.reason}; it must answer 200")
        body = bytearray()
        while part := answer.read1(_PART):
            body += part
            if len(body) > _LONGEST_PAGE:
                raise ScrapeError(f"{url}: /metrics is over {_LONGEST_PAGE >> 20} MiB; it must be shorter")
            if self._clock() > end:
                raise ScrapeError(f"{url}: /metrics takes over {self._timeout:.3g} s")
        return body.decode("utf-8", "replace")

    def _connect(self, url: str) -> http.client.HTTPConnection:
        where = urlsplit(url)
        return http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=self._timeout)
