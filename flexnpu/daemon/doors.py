# SPDX-License-Identifier: Apache-2.0
"""Attach sockets of single vNPUs: who reaches one is let in, whatever user it is, and to that vNPU alone.

A container sees its own folder and no other, so that no pod can name the vNPU of another. The folder outlives the
daemon, and the next one puts a new socket into it, where the container finds it.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from flexnpu.daemon.attach import AttachServer
from flexnpu.daemon.host import Resident
from flexnpu.daemon.rundir import listening
from flexnpu.errors import InvalidValue
from flexnpu.paths import RuntimeDir


class VNpuDoors:
    """taken: a folder that no vNPU may have, the daemon's own."""

    def __init__(self, attach: AttachServer, taken: Path) -> None:
        self._attach = attach
        self._owners: dict[Path, str] = {taken: "the daemon"}
        self._open: dict[str, list[tuple[Path, socket.socket]]] = {}

    def open(self, resident: Resident) -> None:
        opened = self._open.setdefault(resident.name, [])
        try:
            for folder in resident.registered.attach_dirs:
                self._check(folder)
                path = RuntimeDir(folder).attach_socket
                if path.exists() and not path.is_socket():
                    raise _unusable(folder, f"{path.name} in it is no socket")
                try:
                    listener = listening(path, socket.SOCK_SEQPACKET, mode=0o666)
                except OSError as error:
                    raise _unusable(folder, error.strerror or str(error)) from error
                opened.append((path, listener))
                self._owners[folder] = f"vNPU {resident.name}"
                self._attach.open_door(listener, resident.name)
        except InvalidValue:
            self.close(resident)
            raise

    def close(self, resident: Resident) -> None:
        for path, listener in self._open.pop(resident.name, []):
            self._attach.close_door(listener)
            self._owners.pop(path.parent, None)
            path.unlink(missing_ok=True)

    def _check(self, folder: Path) -> None:
        if folder in self._owners:
            raise _unusable(folder, f"{self._owners[folder]} has it")
        try:
            found = folder.lstat()
        except OSError as error:
            raise _unusable(folder, error.strerror or str(error)) from error
        if not stat.S_ISDIR(found.st_mode):
            raise _unusable(folder, "it is no folder")
        if found.st_uid != os.geteuid():
            raise _unusable(folder, f"it belongs to uid {found.st_uid}")


def _unusable(folder: Path, why: str) -> InvalidValue:
    return InvalidValue(
        f"attach_dirs names {str(folder)!r}, which cannot be used ({why})",
        next_step="make a folder of the daemon's user there, for this vNPU alone",
    )
