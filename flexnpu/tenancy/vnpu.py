# SPDX-License-Identifier: Apache-2.0
"""A vNPU: a guaranteed part of one or several devices, under a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from flexnpu.errors import InvalidValue

PHASES = ("prefill", "decode")
MOST_DEVICES = 16  # that one vNPU spans
MOST_PRIORITY = 7
WHOLE_SHARE = 10_000  # all of a device's time
MOST_LABELS = 16
MOST_ATTACH_DIRS = 4
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_MOST_LABEL = 253  # characters of a value
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Quota:
    """What is guaranteed on each of the vNPU's devices; the revision rises by one with each change.

    burst_cores: what idle cores of others may bring it to; None: no more than `cores`.
    vector_cores: None: in proportion to the cube cores.
    share: of the device's time, in 1/10,000; None: not time-shared. fixed_share: never more, even alone.
    """

    cores: int
    memory_bytes: int
    revision: int = 1
    burst_cores: int | None = None
    vector_cores: int | None = None
    share: int | None = None
    fixed_share: bool = False
    priority: int = 0

    def __post_init__(self) -> None:
        _check(self.cores >= 1, f"cores {self.cores} is out of range", "give at least 1 core")
        _check(self.memory_bytes >= 1, f"memory {self.memory_bytes} is out of range", "give at least 1 byte")
        _check(
            self.most_cores >= self.cores,
            f"burst_cores {self.burst_cores} is below cores {self.cores}",
            "give at least as many as cores, or none",
        )
        _check(
            self.vector_cores is None or self.vector_cores >= 1,
            f"vector_cores {self.vector_cores} is out of range",
            "give at least 1, or none: in proportion to the cores",
        )
        _check(
            self.share is None or 0 < self.share <= WHOLE_SHARE,
            f"share {self.share_percent}% is out of range",
            "give 0.01 to 100 percent, or none: not time-shared",
        )
        _check(
            0 <= self.priority <= MOST_PRIORITY,
            f"priority {self.priority} is out of range",
            f"give 0 to {MOST_PRIORITY}, the higher first",
        )
        _check(not self.fixed_share or self.share is not None, "a fixed share needs a share", "give a share as well")

    @property
    def most_cores(self) -> int:
        """The most that it may ever use at once."""
        return self.cores if self.burst_cores is None else self.burst_cores

    @property
    def share_percent(self) -> float | None:
        return None if self.share is None else self.share / 100


class MoveFields(TypedDict, total=False):
    """What a move of a rebalance may name; what it does not name stays. As in Quota."""

    cores: int
    share: int | None
    priority: int


class QuotaFields(TypedDict, total=False):
    """What a change of a quota may name; what it does not name stays."""

    cores: int
    memory_bytes: int
    burst_cores: int | None
    vector_cores: int | None
    share: int | None
    fixed_share: bool
    priority: int


@dataclass(frozen=True, slots=True)
class Owner:
    """A process whose end ends its vNPU. `born` tells it from a later process of the same pid."""

    pid: int
    born: str


@dataclass(frozen=True, slots=True)
class VNpu:
    """As registered. `id` is never used twice in a registry. Programs count its devices 0, 1, … in this order.

    labels: what others know it by; nothing follows from them here. attach_dirs: with an attach socket of its own each.
    """

    id: int
    name: str
    devices: tuple[int, ...]
    quota: Quota
    phase: str | None = None
    owner: Owner | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    attach_dirs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """One vNPU's part in a rebalance; InvalidValue unless it names something to change."""

    vnpu: str
    fields: MoveFields

    def __post_init__(self) -> None:
        _check(
            bool(self.fields),
            f"move of {self.vnpu} changes nothing",
            "name its cores, share or priority, or leave it out",
        )


def share_of(percent: float) -> int:
    """Percent of a device's time as Quota.share has it; InvalidValue when that is none."""
    if not 0.01 <= percent <= 100:
        raise InvalidValue(f"share {percent:g}% is out of range", next_step="give 0.01 to 100 percent, such as 25%")
    return round(percent * 100)


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


def check_devices(devices: tuple[int, ...]) -> tuple[int, ...]:
    """The indexes themselves; InvalidValue unless they are 1 to 16 different ones."""
    if not 1 <= len(devices) <= MOST_DEVICES or len(set(devices)) != len(devices):
        shown = ", ".join(map(str, devices)) or "none"
        raise InvalidValue(
            f"devices {shown} are not usable for a vNPU", next_step=f"name 1 to {MOST_DEVICES} devices, each once"
        )
    return devices


def check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """The labels themselves; InvalidValue when there are too many, or one is not usable."""
    if len(labels) > MOST_LABELS:
        raise InvalidValue(f"{len(labels)} labels are too many", next_step=f"give at most {MOST_LABELS}")
    for name, value in labels.items():
        if not _LABEL.fullmatch(name):
            raise InvalidValue(
                f"label {name!r} is not usable",
                next_step="use 1 to 63 letters, digits, '.', '_', '/' or '-', the first and last a letter or digit",
            )
        if len(value) > _MOST_LABEL or not value.isprintable():
            raise InvalidValue(
                f"label {name} has a value that is not usable",
                next_step=f"use up to {_MOST_LABEL} characters that can be printed",
            )
    return labels


def check_attach_dirs(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """The folders themselves; InvalidValue unless they are few, different and absolute."""
    for folder in folders:
        text = str(folder)
        if not folder.is_absolute() or folder == folder.parent or ".." in folder.parts or not text.isprintable():
            raise InvalidValue(f"attach_dirs names {text!r}", next_step="give absolute paths of folders, without ..")
    if len(folders) > MOST_ATTACH_DIRS or len(set(folders)) != len(folders):
        raise InvalidValue(
            f"attach_dirs names {len(folders)} folders", next_step=f"give at most {MOST_ATTACH_DIRS}, each once"
        )
    return folders


def _check(holds: bool, message: str, next_step: str) -> None:
    if not holds:
        raise InvalidValue(message, next_step=next_step)
