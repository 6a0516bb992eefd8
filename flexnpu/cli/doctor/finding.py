# SPDX-License-Identifier: Apache-2.0
"""What was found, and the host that it is found on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flexnpu.backend import DRIVER

Level = Literal["ok", "note", "warning", "error"]

ANSWER_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """check: what was looked at. mend: a command line that makes it right, where it is not."""

    check: str
    level: Level
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """root: of the file system that is looked at."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def path(self, path: str | Path) -> Path:
        return self.root / str(path).lstrip("/")

    @property
    def has_npu(self) -> bool:
        """Whether the Ascend driver is loaded."""
        return self.path(DRIVER).exists()

    def text(self, path: str | Path) -> str | None:
        """None where it cannot be read."""
        try:
            return self.path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def ask(self, *command: str) -> str | None:
        """What a program says on stdout; None where there is no such program, or it fails."""
        program = shutil.which(command[0], path=self.environ.get("PATH"))
        if program is None:
            return None
        try:
            done = subprocess.run(
                [program, *command[1:]],
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=ANSWER_WITHIN_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None


def value_of(text: str | None, key: str) -> str | None:
    """Of a line KEY=VALUE, whatever the case of the key."""
    found = re.search(rf"^\s*{re.escape(key)}\s*=\s*(\S+)\s*$", text or "", re.MULTILINE | re.IGNORECASE)
    return found[1] if found else None


def numbers(version: str) -> tuple[int, ...]:
    """25, 5 and 0 of "25.5.0.rc1"."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def architecture() -> str:
    """As CANN names it in its paths."""
    return platform.machine()
