# SPDX-License-Identifier: Apache-2.0
"""One controller per device: who moves cores holds a lock of the daemon's runtime directory while it lives."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from flexnpu.controller.decision import Applied, Grant
from flexnpu.controller.seam import Cores, CoresError, DeviceView
from flexnpu.errors import FlexNpuError


class Hold:
    """The right to move cores on a device. Refused with the pid of the controller that has it."""

    def __init__(self, runtime_dir: Path, device: int) -> None:
        self._path = runtime_dir / f"controller-{device}.lock"
        self._file = self._open()
        while not self._lock(device):
            os.close(self._file)
            self._file = self._open()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Nothing stays, or the daemon would not remove its directory. In that order: who opens the file before it is
        gone finds, once it has the lock, that it is not there any more."""
        if self.held:
            self._path.unlink(missing_ok=True)
        fcntl.flock(self._file, fcntl.LOCK_UN)  # of the file, wherever it is still open: a child may have it
        os.close(self._file)

    @property
    def held(self) -> bool:
        """Whether the file is still there, and still this one: a daemon that ends in order removes its directory."""
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CoresError(f"{self._path} cannot be opened ({error.strerror})") from error

    def _lock(self, device: int) -> bool:
        """Whether it is locked and still the file of that name."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            other = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise CoresError(
                f"device {device} has a controller already (pid {other})",
                next_step="end that one first, or run this one with --mode observe, which moves nothing",
            ) from None
        return self.held


class HeldCores:
    """Cores that are looked at and moved while the right to move them is held on every device of theirs.

    A right that was lost is taken anew, or the look is refused where another controller has it by now. moves: False
    where nothing will be moved, and no right is needed.
    """

    def __init__(self, cores: Cores, runtime_dir: Path, *, moves: bool) -> None:
        self._cores, self._root, self._moves = cores, runtime_dir, moves
        self._holds: dict[int, Hold] = {}

    def let_move(self, moves: bool) -> None:
        """Takes the rights, a CoresError where another controller has one; or gives them back."""
        before, self._moves = self._moves, moves
        try:
            self.look() if moves else self.release()
        except FlexNpuError:
            self._moves = before
            raise

    def look(self) -> Sequence[DeviceView]:
        views = self._cores.look()
        if not self._moves:
            return views
        for device in (index for view in views for index in view.devices):
            hold = self._holds.get(device)
            if hold is not None and hold.held:
                continue
            if hold is not None:
                self._holds.pop(device).release()
            self._holds[device] = Hold(self._root, device)
        return views

    def move(self, grants: Mapping[str, Grant]) -> Applied:
        return self._cores.move(grants)

    def release(self) -> None:
        while self._holds:
            self._holds.popitem()[1].release()
