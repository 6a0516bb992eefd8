# SPDX-License-Identifier: Apache-2.0
"""The runtime directory while a daemon has it. A lock on the directory itself says whose it is, so that nothing is left
of a daemon that was killed but its sockets, which the next one replaces.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import struct
from pathlib import Path

from flexnpu.errors import DaemonError, DaemonRunning
from flexnpu.paths import RuntimeDir


class ClaimedDir:
    """A runtime directory that is ours until release(). group: whose members may come to the admin socket."""

    def __init__(self, paths: RuntimeDir, *, group: int | None = None) -> None:
        self.paths = paths
        self._group = group
        # A directory with a registry in it is an earlier daemon's making.
        self._made = not paths.root.exists() or paths.registry.exists()
        try:
            paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(paths.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DaemonError(
                f"runtime directory {paths.root} cannot be used ({error.strerror})",
                next_step="choose another with --runtime-dir",
            ) from error
        try:
            self._take()
        except BaseException:
            os.close(self._lock)
            raise

    def listen(self, path: Path, kind: socket.SocketKind, *, for_group: bool = False) -> socket.socket:
        """A listening socket there, in place of one that a killed daemon left."""
        group = self._group if for_group else None
        listener = listening(path, kind, mode=0o600 if group is None else 0o660)
        if group is not None:
            os.chown(path, -1, group)
        return listener

    def fresh_softnpu(self) -> None:
        """An empty directory for the software NPU's state."""
        shutil.rmtree(self.paths.softnpu, ignore_errors=True)
        self.paths.softnpu.mkdir(mode=0o700)

    def release(self, *, keep_registry: bool, keep_state: bool) -> None:
        """Remove what the daemon made, but for registry and software NPU state where they are still of use."""
        for path in (self.paths.admin_socket, self.paths.attach_socket):
            path.unlink(missing_ok=True)
        if not keep_state:
            shutil.rmtree(self.paths.softnpu, ignore_errors=True)
        if not keep_registry:
            for file in self.paths.registry_files:
                file.unlink(missing_ok=True)
            if self._made:
                with contextlib.suppress(OSError):  # somebody else has put something there
                    self.paths.root.rmdir()
        os.close(self._lock)

    def _take(self) -> None:
        found = os.fstat(self._lock)
        if found.st_uid != os.geteuid():
            raise DaemonError(
                f"runtime directory {self.paths.root} belongs to uid {found.st_uid}, not to us ({os.geteuid()})",
                next_step="choose another with --runtime-dir",
            )
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = _listener(self.paths.admin_socket)
            raise DaemonRunning(
                f"another flexnpud{f' (pid {pid})' if pid else ''} runs in {self.paths.root}",
                next_step="stop it, or choose another --runtime-dir",
            ) from error
        if self._group is None:
            os.fchmod(self._lock, 0o700)
        else:  # to come through; what is in it has modes of its own
            os.fchown(self._lock, -1, self._group)
            os.fchmod(self._lock, 0o710)


def listening(path: Path, kind: socket.SocketKind, *, mode: int) -> socket.socket:
    """A listening socket there, in place of what is there; OSError where that cannot be."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    try:
        listener.bind(os.fspath(path))
        path.chmod(mode)
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def _listener(path: Path) -> int | None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
        asking.connect(os.fspath(path))
        (pid,) = struct.unpack("i8x", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)
    return None
