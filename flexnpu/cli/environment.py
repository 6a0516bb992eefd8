# SPDX-License-Identifier: Apache-2.0
"""How a program is found and started in our place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import NoReturn

from flexnpu.errors import CommandError, InvalidValue


def find_program(command: Sequence[str]) -> str:
    """The file of command[0]; CommandError when there is none."""
    if not command:
        raise InvalidValue("no command is given", next_step="write it after --, as in: flexnpu run … -- python app.py")
    program = shutil.which(command[0])
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
