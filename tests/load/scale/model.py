# SPDX-License-Identifier: Apache-2.0
"""What writers were told, held against what the daemon says: nothing acknowledged is gone, and no two won at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Known:
    """Of one vNPU: the newest acknowledged revision, the newest acknowledged memory and its revision, and what was sent
    and never answered: memory, None for a move of cores."""

    revision: int
    memory: int
    memory_revision: int
    unanswered: list[int | None] = field(default_factory=list)


class Model:
    def __init__(self, vnpus: Iterable[Mapping[str, Any]]) -> None:
        self._known = {each["name"]: Known(each["revision"], each["memory_bytes"], each["revision"]) for each in vnpus}
        self._won: dict[tuple[str, int], int] = {}  # memory
        self.faults: list[str] = []

    def acknowledged(self, name: str, revision: int, memory: int | None = None) -> None:
        """memory: None for a move of cores, whose revision is the old one where they had been moved already."""
        # Who asks for what is there already gets the revision that brought it.
        if memory is not None and self._won.setdefault((name, revision), memory) != memory:
            self.faults.append(f"{name}: two writers were told that revision {revision} is theirs")
        known = self._known[name]
        known.revision = max(known.revision, revision)
        if memory is not None and revision > known.memory_revision:
            known.memory, known.memory_revision = memory, revision

    def unanswered(self, name: str, memory: int | None = None) -> None:
        """It may have been carried out or not."""
        self._known[name].unanswered.append(memory)

    def check(self, vnpus: Iterable[Mapping[str, Any]]) -> None:
        """With no write under way."""
        there = {each["name"]: each for each in vnpus}
        for name, known in self._known.items():
            if name not in there:
                self.faults.append(f"{name} is gone")
                continue
            revision, memory = there[name]["revision"], there[name]["memory_bytes"]
            if not 0 <= revision - known.revision <= len(known.unanswered):
                self.faults.append(
                    f"{name} has revision {revision}; {known.revision} was acknowledged, and {len(known.unanswered)} "
                    "were never answered"
                )
            if memory != known.memory and memory not in known.unanswered:
                self.faults.append(f"{name} has {memory} bytes; {known.memory} was acknowledged")
            self._known[name] = Known(revision, memory, revision)
