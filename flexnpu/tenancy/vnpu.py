# SPDX-License-Identifier: Apache-2.0
"""A vNPU: a guaranteed part of one device, under a name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flexnpu.errors import InvalidValue

PHASES = ("prefill", "decode")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Quota:
    """What is guaranteed; the revision rises by one with each change."""

    cores: int
    memory_bytes: int
    revision: int = 1

    def __post_init__(self) -> None:
        if self.cores < 1:
            raise InvalidValue(f"cores {self.cores} is out of range", next_step="give at least 1 core")
        if self.memory_bytes < 1:
            raise InvalidValue(f"memory {self.memory_bytes} is out of range", next_step="give at least 1 byte")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process whose end ends its vNPU. `born` tells it from a later process of the same pid."""

    pid: int
    born: str


@dataclass(frozen=True, slots=True)
class VNpu:
    """As registered. `id` is never used twice in a registry."""

    id: int
    name: str
    device: int
    quota: Quota
    phase: str | None = None
    owner: Owner | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """One vNPU's part in a rebalance."""

    vnpu: str
    cores: int


def check_name(name: str) -> str:
    """The name itself; InvalidValue when it does not fit the page or a path."""
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            f"name {name!r} is not usable for a vNPU",
            next_step="use 1 to 63 letters, digits, '.', '_' or '-', the first a letter or digit",
        )
    return name


def check_phase(phase: str | None) -> str | None:
    """The phase itself; InvalidValue when it is not one."""
    if phase is not None and phase not in PHASES:
        raise InvalidValue(f"phase {phase!r} is not known", next_step=f"use {' or '.join(PHASES)}")
    return phase
