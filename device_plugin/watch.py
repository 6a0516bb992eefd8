# SPDX-License-Identifier: Apache-2.0
"""Who has which socket in the kubelet's folder of device plugins. A kubelet that starts anew empties that folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

POLL_MS = 2000  # should the kernel's word be lost, or the folder itself be made anew
SETTLE_MS = 20

Identity = tuple[int, int, int]


def identity(path: Path) -> Identity | None:
    """Of a file; a later one of the same name has another. None where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


async def changes(folder: Path, stop: asyncio.Event) -> AsyncIterator[None]:
    """At once, after each change in the folder, and now and then without one."""
    while not stop.is_set():
        yield
        if not folder.is_dir():
            await asyncio.sleep(POLL_MS / 1000)
            continue
        here = folder.stat().st_ino
        async for _ in awatch(
            folder,
            stop_event=stop,
            recursive=False,
            debounce=SETTLE_MS,
            step=SETTLE_MS,
            rust_timeout=POLL_MS,
            yield_on_timeout=True,
            watch_filter=None,
        ):
            yield
            if not folder.is_dir() or folder.stat().st_ino != here:
                break
