# SPDX-License-Identifier: Apache-2.0
"""Processes as the kernel knows them: a pid together with its birth, and a descriptor that fires at its death."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from pathlib import Path


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def born(pid: int) -> str | None:
    """When the process was started, in words that no other process of that pid shares; None when it is dead."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        stat = os.read(file, 4096)
    except OSError:
        return None
    finally:
        os.close(file)
    # The name in field 2 may hold anything, so count from its closing bracket: state is field 3, start time field 22.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else f"{_boot()}:{int(fields[19])}"


class Watch:
    """Calls back once, in the running loop, when a process is dead. Owns the pidfd."""

    def __init__(self, pidfd: int, on_death: Callable[[], None]) -> None:
        self._pidfd = pidfd
        self._on_death = on_death
        asyncio.get_running_loop().add_reader(pidfd, self._fire)

    @classmethod
    def of(cls, pid: int, birth: str, on_death: Callable[[], None]) -> Watch | None:
        """None when that very process is dead already."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        if born(pid) != birth:
            os.close(pidfd)
            return None
        return cls(pidfd, on_death)

    @property
    def pidfd(self) -> int:
        return self._pidfd

    def close(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
            self._on_death = lambda: None  # it knows who has this watch, and would keep it and its pages

    def _fire(self) -> None:
        on_death = self._on_death
        self.close()
        on_death()
