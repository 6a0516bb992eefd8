# SPDX-License-Identifier: Apache-2.0
"""What a program finds in its environment, and how it is started in our place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from flexnpu.errors import CommandError, InvalidValue

_LISTS = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PATH")


def merged(base: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """`base` with `added` over it; in lists of places, ours come first and the program's own stay."""
    environment = {**base, **added}
    for name in _LISTS:
        if name in added and base.get(name):
            environment[name] = f"{added[name]}{os.pathsep}{base[name]}"
    return environment


def for_tenant(
    base: Mapping[str, str], device: Mapping[str, str], preload: Path, socket: Path, vnpu: str
) -> dict[str, str]:
    """The environment of a program on a vNPU."""
    own = {
        "LD_PRELOAD": str(preload),
        "FLEXNPU_SOCKET": str(socket),
        "FLEXNPU_VNPU": vnpu,
        # What the list says from here on counts the vNPU's devices; the runtime is given this one back.
        "FLEXNPU_NODE_VISIBLE_DEVICES": base.get(
            "FLEXNPU_NODE_VISIBLE_DEVICES", base.get("ASCEND_RT_VISIBLE_DEVICES", "")
        ),
    }
    outside = {name: value for name, value in base.items() if name != "FLEXNPU_VISIBLE_DEVICES"}
    return merged(outside, {**device, **own})


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
