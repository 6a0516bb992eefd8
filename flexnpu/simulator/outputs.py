# SPDX-License-Identifier: Apache-2.0
"""Several files that are there whole or not at all: put into their places when everything is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from flexnpu.errors import InvalidValue
from flexnpu.files import Draft, place_of, shown


class Outputs:
    """Asks for the places before minutes of work, and fills them all at the end; on an error or Ctrl-C, none.

    with Outputs([file]) as outputs: outputs.stream(file).write(text)
    """

    def __init__(self, files: Sequence[Path | None]) -> None:
        self.files = [file for file in files if file is not None]
        self._drafts: dict[Path, Draft] = {}

    def __enter__(self) -> Outputs:
        named: dict[Path, Path] = {}
        for file in self.files:
            other = named.setdefault(place_of(file), file)
            if other is not file:
                both = shown(file) if other == file else f"{shown(other)} and {shown(file)}"
                raise InvalidValue(f"two outputs have the same file, {both}", next_step="give each its own")
        try:
            for file in self.files:
                self._drafts[file] = Draft(file, folders=True)
                self._drafts[file].open()
        except BaseException:
            self._drop()
            raise
        return self

    def stream(self, file: Path) -> IO[str]:
        """Where to write what is to be in `file`. Raises InvalidValue where there is no room."""
        return self._drafts[file].stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for draft in self._drafts.values():
                    draft.complete()
                for draft in sorted(self._drafts.values(), key=lambda draft: draft.moves):
                    draft.finish()
        finally:
            self._drop()

    def _drop(self) -> None:
        for draft in self._drafts.values():
            draft.drop()
