# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all: written beside their place, and moved there when everything is done."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from flexnpu.errors import InvalidValue


class Outputs:
    """Asks for the places before minutes of work, and fills them all at the end; on an error or Ctrl-C, none.

    with Outputs([file]) as outputs: outputs.stream(file).write(text)
    """

    def __init__(self, files: Sequence[Path | None]) -> None:
        self.files = [file for file in files if file is not None]
        self._streams: dict[Path, IO[str]] = {}
        self._names: dict[Path, Path] = {}

    def __enter__(self) -> Outputs:
        if len(set(self.files)) < len(self.files):
            raise InvalidValue("two outputs have the same file name", next_step="give each its own")
        try:
            for file in self.files:
                self._streams[file], self._names[file] = _beside(file)
        except BaseException:
            self._drop()
            raise
        return self

    def stream(self, file: Path) -> IO[str]:
        """Where to write what is to be in `file`."""
        return self._streams[file]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._drop()
            return
        try:
            for stream in self._streams.values():
                stream.close()
            for file, name in self._names.items():
                name.replace(file)
        except OSError as failed:
            self._drop()
            raise InvalidValue(f"the results cannot be written ({failed.strerror})", next_step="make room") from failed

    def _drop(self) -> None:
        for stream in self._streams.values():
            with contextlib.suppress(OSError):
                stream.close()
        for name in self._names.values():
            name.unlink(missing_ok=True)


def _beside(file: Path) -> tuple[IO[str], Path]:
    if file.is_dir():
        raise InvalidValue(f"{file} is a folder", next_step="name a file in it")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)  # as any new file, where mkstemp lets nobody else read
        return open(handle, "w", encoding="utf-8", newline="\n"), Path(name)  # noqa: PTH123 - closed on exit
    except OSError as error:
        raise InvalidValue(f"{file} cannot be written ({error.strerror})", next_step="name another file") from error
