# SPDX-License-Identifier: Apache-2.0
"""Output files: whole or not at all, and in the place that was named, whatever is there.

A regular file is written beside its place and moved there. A link is followed first, so that it stays a link. What
exists and is no regular file (a device, a FIFO, a stream of this process such as /dev/stdout) cannot be moved over
without destroying it: it gets the finished text written into it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from flexnpu.errors import FlexNpuError, InvalidValue

_NEXT_STEP = {
    errno.ENOSPC: "make room there, or name another file",
    errno.EDQUOT: "make room there, or name another file",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or name another file",
}
Complain = Callable[[OSError], FlexNpuError]


def shown(name: str | os.PathLike[str]) -> str:
    """A file's name as text that any encoding of Unicode can carry: bytes that are no UTF-8 as \\xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def place_of(file: str | os.PathLike[str]) -> Path:
    """The file that a name stands for, however it is spelled: links followed, no dots."""
    return Path(os.path.realpath(file))


class Draft:
    """A file to be: `open` it, write to `stream`, then `finish`; or `drop` it, which leaves what was there.

    It is dropped by whoever has it, from before `open` on: a signal may come between any two lines.
    folders: whether to make those that are missing on the way.
    Raises InvalidValue, from `open` where the place cannot be written, and from `stream` where it has no room.
    """

    stream: IO[str]

    def __init__(self, file: Path, *, folders: bool = False) -> None:
        self.file, self._folders = file, folders
        self._temporary: Path | None = None  # to be moved into its place
        self._spool: IO[bytes] | None = None  # to be written into what is there; it has no name
        self._own: int | None = None  # the stream of this process that it is

    def open(self) -> Draft:
        """Asks for the place."""
        try:
            found = _status(self.file)
            if found is not None and stat.S_ISDIR(found.st_mode):
                raise InvalidValue(f"{shown(self.file)} is a folder", next_step="name a file in it")
            self._own = _stream_of_ours(found)
            if self._own is not None or (found is not None and not stat.S_ISREG(found.st_mode)):
                if not os.access(self.file, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed in drop
                handle = os.dup(self._spool.fileno())
            else:
                handle = self._beside(found)
        except OSError as error:
            raise self._failed(error) from error
        # Written as backslashes, what is no Unicode cannot end minutes of work.
        self.stream = io.TextIOWrapper(
            io.BufferedWriter(_Raw(handle, self._failed)), "utf-8", errors="backslashreplace", newline="\n"
        )
        return self

    def _beside(self, found: os.stat_result | None) -> int:
        self._place = place_of(self.file)
        if self._folders:
            self._place.parent.mkdir(parents=True, exist_ok=True)
        # A name may be as long as the file system allows, so the temporary one has the beginning of it. It is known
        # before the file is there, which mkstemp's is not.
        name = f".{self._place.name[:32]}.{secrets.token_hex(8)}"
        self._temporary = self._place.with_name(name)
        mode = 0o666 if found is None else 0o600  # as any new file, of which the umask takes its part; or as before
        try:
            handle = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            self._temporary = None  # somebody else's
            raise
        if found is not None:
            os.fchmod(handle, stat.S_IMODE(found.st_mode))
        return handle

    @property
    def moves(self) -> bool:
        """Whether `finish` only moves it, which hardly fails once the drafts are complete."""
        return self._temporary is not None

    def complete(self) -> None:
        """Writes out what is in buffers, so that of several drafts none is finished where one has no room."""
        self.stream.close()

    def finish(self) -> None:
        """Puts it into its place."""
        try:
            self.complete()
            if self._spool is not None:
                self._write_into()
            elif self._temporary is not None:
                self._temporary.replace(self._place)
                self._temporary = None
        except OSError as error:
            if self._own is not None and isinstance(error, BrokenPipeError):
                raise  # whoever reads our output, such as head, has seen enough
            raise self._failed(error) from error
        finally:
            self.drop()

    def _write_into(self) -> None:
        assert self._spool is not None
        # A FIFO waits here for its reader. A device is neither created nor cut.
        handle = os.open(self.file, os.O_WRONLY | os.O_NOCTTY) if self._own is None else os.dup(self._own)
        self._spool.seek(0)
        with open(handle, "wb") as target:  # noqa: PTH123 - it is open already
            shutil.copyfileobj(self._spool, target)

    def drop(self) -> None:
        """Leaves nothing of it. Does nothing after `finish`."""
        if hasattr(self, "stream"):
            with contextlib.suppress(OSError, FlexNpuError):
                self.stream.close()
        if self._spool is not None:
            self._spool.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def _failed(self, error: OSError) -> FlexNpuError:
        step = _NEXT_STEP.get(error.errno or 0, "name another file")
        return InvalidValue(f"{shown(self.file)} cannot be written ({error.strerror})", next_step=step)


def write_whole(file: str | os.PathLike[str], text: str) -> None:
    """Writes the text, or nothing. InvalidValue: the place cannot be written, or has no room."""
    draft = Draft(Path(file))
    try:
        draft.open().stream.write(text)
        draft.finish()
    finally:
        draft.drop()


class _Raw(io.FileIO):
    """A file that complains in our words wherever a buffer happens to be written out."""

    def __init__(self, handle: int, complain: Complain) -> None:
        super().__init__(handle, "wb")
        self._complain = complain

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            raise self._complain(error) from error


def _status(file: Path) -> os.stat_result | None:
    """Of what a name leads to; None where nothing is there yet."""
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def _stream_of_ours(found: os.stat_result | None) -> int | None:
    """The standard stream that a file is: written through its own handle, what both write follows one another."""
    for handle in (1, 2) if found is not None else ():
        with contextlib.suppress(OSError):
            if found is not None and os.path.samestat(found, os.fstat(handle)):
                return handle
    return None
