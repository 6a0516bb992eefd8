# SPDX-License-Identifier: Apache-2.0
"""Where things are: the daemon's runtime directory and the native libraries."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flexnpu.errors import BackendError, InvalidValue

_LONGEST_SOCKET = 107  # sun_path, less its terminating zero


@dataclass(frozen=True, slots=True)
class RuntimeDir:
    """The directory of one daemon (mode 0700)."""

    root: Path

    @classmethod
    def find(cls, given: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> RuntimeDir:
        """`given`, $FLEXNPU_RUNTIME_DIR, $XDG_RUNTIME_DIR/flexnpu, /run/flexnpu (root), /tmp/flexnpu-UID: the first."""
        root = Path(given or environ.get("FLEXNPU_RUNTIME_DIR") or _default(environ)).absolute()
        if not _has_room_for_sockets(root):
            raise InvalidValue(
                f"runtime directory {str(root)!r} is too long for the sockets in it (at most 95 bytes)",
                next_step="choose a shorter FLEXNPU_RUNTIME_DIR or --runtime-dir",
            )
        return cls(root)

    @property
    def admin_socket(self) -> Path:
        return self.root / "admin.sock"

    @property
    def attach_socket(self) -> Path:
        return self.root / "attach.sock"

    @property
    def softnpu(self) -> Path:
        return self.root / "softnpu"

    @property
    def registry(self) -> Path:
        return self.root / "registry.sqlite"

    @property
    def registry_files(self) -> list[Path]:
        """With what SQLite keeps beside it while it is open."""
        return [self.registry, *(self.root / f"registry.sqlite{suffix}" for suffix in ("-wal", "-shm", "-journal"))]


def _has_room_for_sockets(root: Path) -> bool:
    return len(os.fsencode(root / "attach.sock")) <= _LONGEST_SOCKET


def _default(environ: Mapping[str, str]) -> Path:
    if base := environ.get("XDG_RUNTIME_DIR"):
        return Path(base) / "flexnpu"
    return Path("/run/flexnpu") if os.geteuid() == 0 else Path(f"/tmp/flexnpu-{os.geteuid()}")


def temporary_root(prefix: str) -> Path:
    """A new directory (mode 0700), the caller's to remove, that a RuntimeDir with a short name fits into.

    In $TMPDIR, or in /tmp where that is too long for sockets.
    """
    made = Path(tempfile.mkdtemp(prefix=prefix))
    if _has_room_for_sockets(made.absolute() / "run"):
        return made
    made.rmdir()
    return Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))


def library_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """flexnpu/lib, beside the extension module; $FLEXNPU_LIB_DIR for a build tree."""
    if given := environ.get("FLEXNPU_LIB_DIR"):
        return Path(given).absolute()
    from flexnpu import _native  # noqa: PLC0415 - in an editable install the module lies elsewhere than this file

    return Path(_native.__file__).parent / "lib"


def interposer(environ: Mapping[str, str] = os.environ) -> Path:
    """libflexnpu.so, which a tenant is started with."""
    return _built(library_dir(environ) / "libflexnpu.so", "the interposer")


def softnpu_libraries(environ: Mapping[str, str] = os.environ) -> Path:
    """The directory of the software NPU's libascendcl.so and those beside it."""
    return _built(library_dir(environ) / "softnpu" / "libascendcl.so", "the software NPU").parent


def _built(file: Path, what: str) -> Path:
    if not file.is_file():
        raise BackendError(f"{what} is not built: {file} does not exist", next_step="install with: pip install .")
    return file
