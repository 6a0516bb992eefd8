# SPDX-License-Identifier: Apache-2.0
"""When a program can be used, by the sign that its file names."""

from __future__ import annotations

import asyncio
import http.client
import re
import urllib.request
from collections.abc import Callable

from flexnpu.cli.fleet.file import Ready
from flexnpu.client import Client
from flexnpu.errors import FlexNpuError

_AGAIN_AFTER_S = 0.2
_ANSWER_WITHIN_S = 2.0


class Readiness:
    """vnpu: that the program is to attach to. connect: to the daemon."""

    def __init__(self, wanted: Ready, vnpu: str, connect: Callable[[], Client]) -> None:
        self._wanted, self._vnpu, self._connect = wanted, vnpu, connect
        self._pattern = re.compile(wanted.output.encode()) if wanted.output is not None else None
        self._seen = asyncio.Event()

    @property
    def is_seen(self) -> bool:
        """Whether its output has had the sign."""
        return self._seen.is_set()

    def line(self, line: bytes) -> None:
        """One of its output."""
        if self._pattern is not None and self._pattern.search(line):
            self._seen.set()

    async def wait(self) -> None:
        """TimeoutError when it took too long."""
        async with asyncio.timeout(self._wanted.within):
            if self._pattern is not None:
                await self._seen.wait()
            elif self._wanted.http is not None:
                await self._answers(self._wanted.http)
            else:
                await self._attaches()

    @staticmethod
    async def _answers(url: str) -> None:
        while not await asyncio.to_thread(_answers, url):
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def _attaches(self) -> None:
        with self._connect() as client:
            while True:
                try:
                    if await asyncio.to_thread(client.tenants, self._vnpu):
                        return
                except FlexNpuError:  # a daemon that is starting anew
                    pass
                await asyncio.sleep(_AGAIN_AFTER_S)


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=_ANSWER_WITHIN_S) as answer:
            return bool(200 <= answer.status < 300)
    except (OSError, http.client.HTTPException, ValueError):  # ValueError: a URL that is none
        return False
