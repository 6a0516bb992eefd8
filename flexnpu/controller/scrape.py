# SPDX-License-Identifier: Apache-2.0
"""Both engines' pages at once, over connections that stay open.

http.client, because it costs a fraction of what a full client does, and the loop shares its host with the engines.
"""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from flexnpu.controller.seam import ScrapeError

_LONGEST_PAGE = 8 << 20


class HttpScraper:
    """Reads GET /metrics of each URL; an engine that is slow or gone costs at most `timeout` wall seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._open: dict[str, http.client.HTTPConnection] = {}
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="scrape")

    def read(self, urls: Sequence[str]) -> list[str | ScrapeError]:
        return list(self._threads.map(self._one, urls))

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _one(self, url: str) -> str | ScrapeError:
        kept = url in self._open
        try:
            try:
                return self._get(url)
            except (http.client.HTTPException, ConnectionError):
                if not kept:
                    raise
                return self._get(url)  # the engine had closed the connection that was kept
        except (OSError, http.client.HTTPException) as error:
            return ScrapeError(f"{url}: {str(error) or type(error).__name__}")
        except ScrapeError as error:
            return error

    def _get(self, url: str) -> str:
        connection = self._open.pop(url, None) or self._connect(url)
        try:
            connection.request("GET", "/metrics", headers={"Accept": "text/plain"})
            response = connection.getresponse()
            body = response.read(_LONGEST_PAGE)
        except BaseException:
            connection.close()
            raise
        if response.status != 200:
            connection.close()
            raise ScrapeError(f"{url}: /metrics answers {response.status} {response.reason}; it must answer 200")
        self._open[url] = connection
        return body.decode("utf-8", "replace")

    def _connect(self, url: str) -> http.client.HTTPConnection:
        where = urlsplit(url)
        return http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=self._timeout)
