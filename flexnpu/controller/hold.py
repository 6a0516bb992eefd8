# SPDX-License-Identifier: Apache-2.0
"""One controller per device: who moves cores holds a lock of the daemon's runtime directory while it lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from flexnpu.controller.seam import CoresError


class Hold:
    """The right to move cores on a device. Refused with the pid of the controller that has it."""

    def __init__(self, runtime_dir: Path, device: int) -> None:
        path = runtime_dir / f"controller-{device}.lock"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CoresError(f"{path} cannot be opened ({error.strerror})") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            other = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise CoresError(
                f"device {device} has a controller already (pid {other})",
                next_step="end that one first, or run this one with --mode observe, which moves nothing",
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """The file stays, empty: who waits for it and who makes it anew would hold different ones."""
        os.ftruncate(self._file, 0)
        os.close(self._file)
