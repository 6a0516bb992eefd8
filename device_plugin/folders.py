# SPDX-License-Identifier: Apache-2.0
"""What containers are given of the host's files: a folder each, and the libraries.

pods_dir is root's alone. A container's folder in it is 0700, so that no user of the host gets at a pod's socket; what
is mounted from it lies one deeper and lets the container's user through, whoever that is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from flexnpu import __version__, paths
from flexnpu.errors import BackendError

MOUNTED = "run"
STATE = "softnpu"
CONTAINER_LIBRARIES = "/opt/flexnpu"
PRELOADED = f"{CONTAINER_LIBRARIES}/libflexnpu.so"


class Folders:
    """pods_dir, made where it is missing; BackendError where it cannot be."""

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            root.chmod(0o700)
            self.preload.write_text(PRELOADED + "\n")
            self.preload.chmod(0o644)
        except OSError as error:
            raise _unusable(root, error) from error

    @property
    def preload(self) -> Path:
        """A container's /etc/ld.so.preload."""
        return self._root / "ld.so.preload"

    @property
    def allocations(self) -> Path:
        return self._root / "allocations.json"

    @property
    def inventory(self) -> Path:
        return self._root / "inventory.json"

    def mounted(self, key: str) -> Path:
        """What the container sees as /run/flexnpu. It need not exist."""
        return self._root / key / MOUNTED

    def make(self, key: str) -> Path:
        """As mounted(), and it is there."""
        mounted = self.mounted(key)
        try:
            for folder, mode in ((mounted.parent, 0o700), (mounted, 0o755), (mounted / STATE, 0o777)):
                folder.mkdir(exist_ok=True)
                folder.chmod(mode)  # whatever the umask is
        except OSError as error:
            raise _unusable(mounted, error) from error
        return mounted

    def clear(self, key: str) -> None:
        """No state is left of the container that had it before. The folder itself stays: it may be mounted."""
        for file in (self.mounted(key) / STATE).glob("*"):
            file.unlink(missing_ok=True)

    def drop(self, key: str) -> None:
        shutil.rmtree(self._root / key, ignore_errors=True)

    def keys(self) -> set[str]:
        return {folder.name for folder in self._root.iterdir() if folder.is_dir()}


def install(lib_dir: Path | None) -> Path:
    """Where the libraries are for containers; copied there first, under a name of their own, where lib_dir is given.

    Those of other versions stay: a container that runs on them may be started again. BackendError where they are not
    built, or cannot be copied.
    """
    source = paths.interposer().parent
    if lib_dir is None:
        return source
    place = lib_dir / f"{__version__}-{_digest(source)}"
    if place.is_dir():
        return place
    beside = lib_dir / f".{place.name}.{os.getpid()}"
    try:
        lib_dir.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        shutil.copy2(source / "libflexnpu.so", beside)
        if (source / "softnpu").is_dir():
            shutil.copytree(source / "softnpu", beside / "softnpu")
        beside.chmod(0o755)
        beside.rename(place)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        if place.is_dir():  # another plugin was quicker
            return place
        raise _unusable(lib_dir, error) from error
    return place


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in (folder / "libflexnpu.so", *sorted((folder / "softnpu").rglob("*"))):
        if file.is_file():
            digest.update(os.fsencode(file.relative_to(folder)))
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _unusable(place: Path, error: OSError) -> BackendError:
    return BackendError(
        f"{place} cannot be used ({error.strerror})", next_step="name another folder of the host in the configuration"
    )
