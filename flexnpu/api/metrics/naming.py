# SPDX-License-Identifier: Apache-2.0
"""How the metrics of a daemon are named: what the node is called, and under whose names they are there once more."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field
from typing import Final

from flexnpu.errors import InvalidValue

ALIASES: Final = ("npu-exporter", "hami")
_NODE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Naming:
    """node: the label of that name. aliases: some of ALIASES."""

    node: str = field(default_factory=platform.node)
    aliases: tuple[str, ...] = ()

    @classmethod
    def parse(cls, node: str | None, aliases: str) -> Naming:
        """As flexnpud's flags have them; InvalidValue for a name that none can have."""
        wanted = tuple(dict.fromkeys(each.strip() for each in aliases.split(",") if each.strip()))
        for each in wanted:
            if each not in ALIASES:
                raise InvalidValue(
                    f"--metric-aliases {each!r} is not known", next_step=f"use {', '.join(ALIASES)}, commas between"
                )
        if node is None:
            return cls(aliases=wanted)
        if not _NODE.fullmatch(node):
            raise InvalidValue(
                f"--node-name {node!r} is not usable",
                next_step="use 1 to 253 letters, digits, '.', '_' or '-', the first and last a letter or digit",
            )
        return cls(node, wanted)
