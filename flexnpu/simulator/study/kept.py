# SPDX-License-Identifier: Apache-2.0
"""What a study has worked out so far, in a file, so that one that was ended goes on where it was.

A line per answer: a key and a value, JSON. Keys begin with a digest of all that answers depend on (the code, the
traces, the profiles), so that nothing outlives a change. A line that is cut off counts as not there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOMS = ("forecast", "hardware", "llm", "planner", "simulator")


@dataclass(frozen=True, slots=True)
class Kept:
    """file: None keeps nothing. digest: see `digest_of`. Several processes may add to one file."""

    file: Path | None = None
    digest: str = ""

    def get(self, key: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """The value for that key: from the file, or made now and added to it."""
        if self.file is None:
            return make()
        key = f"{self.digest} {key}"
        found = self._find(self.file, key)
        if found is None:
            found = make()
            with self.file.open("a", encoding="utf-8") as file:
                # A line of its own, also behind one that was cut off.
                file.write(f"\n{json.dumps([key, found])}\n")
        return found

    @staticmethod
    def _find(file: Path, key: str) -> Any:  # noqa: ANN401
        if not file.exists():
            return None
        start = f"[{json.dumps(key)}, "
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith(start):
                try:
                    return json.loads(line)[1]
                except ValueError:
                    continue
        return None


def digest_of(files: Iterable[Path]) -> str:
    """Of those files and of the code of the rooms that a simulation runs through."""
    package = Path(__file__).parents[2]
    sources = (each for room in _ROOMS for each in package.joinpath(room).rglob("*"))
    code = sorted(each for each in sources if each.suffix in {".py", ".yaml", ".json"})
    found = hashlib.sha256()
    for file in (*code, *files):
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:16]
