# SPDX-License-Identifier: Apache-2.0
"""How a program is found and started in our place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from flexnpu.errors import CommandError, InvalidValue


def find_program(command: Sequence[str], path: str | None = None, folder: Path | None = None) -> str:
    """The file of command[0], on `path` ($PATH where none is given) or, where it is a path itself, from `folder` on;
    CommandError when there is none."""
    if not command:
        raise InvalidValue("no command is given", next_step="write it after --, as in: flexnpu run … -- python app.py")
    name = command[0] if folder is None or "/" not in command[0] else str(folder / command[0])
    program = shutil.which(name, path=path)
    if program is None:
        raise CommandError(
            f"command {command[0]!r} does not exist or is not executable", next_step="check its name and PATH"
        )
    return program


def become(program: str, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process; CommandError (exit 126) when the file cannot be executed."""
    try:
        os.execve(program, list(command), dict(environment))
    except OSError as error:
        failure = CommandError(
            f"{program} cannot be executed ({error.strerror})", next_step="check that it is a program"
        )
        failure.exit_code = 126
        raise failure from error
