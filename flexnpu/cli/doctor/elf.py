# SPDX-License-Identifier: Apache-2.0
"""Of a shared library's file: for which machine it is, what it defines, and through which slots it calls others.

Little-endian ELF64, as on every host that CANN is for; struct layouts as the System V ABI has them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

MACHINES = {62: "x86_64", 183: "aarch64"}

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_DYNSYM, _RELA = 11, 4
_JUMP_SLOTS = {(62, 7), (183, 1026), (62, 6), (183, 1025)}  # JUMP_SLOT and GLOB_DAT, by machine
_FUNCTIONS = (2, 10)  # FUNC and GNU_IFUNC


class NotElfError(ValueError):
    """A file that is no such library."""


@dataclass(frozen=True, slots=True)
class Library:
    """machine: as uname has it. defined: functions for others. slots: by name, where in the library's image the address
    of a function of another is kept."""

    machine: str
    defined: frozenset[str]
    slots: dict[str, list[int]]


def read(path: Path) -> Library:
    """Raises OSError and NotElfError."""
    data = path.read_bytes()
    try:
        return _parse(data)
    except (struct.error, IndexError, ValueError) as error:
        raise NotElfError(f"{path} is no 64-bit ELF library") from error


def _parse(data: bytes) -> Library:
    ident, _, machine, *_, sections_at, _, _, _, _, size, count, _ = _HEADER.unpack_from(data)
    if ident[:6] != b"\x7fELF\x02\x01":
        raise NotElfError("not ELF64, little-endian")
    sections = [_SECTION.unpack_from(data, sections_at + at * size) for at in range(count)]
    defined: set[str] = set()
    names: list[str] = []
    slots: dict[str, list[int]] = {}
    for section in sections:
        _, kind, _, _, offset, length, link, *_ = section
        if kind == _DYNSYM:
            strings = data[sections[link][4] : sections[link][4] + sections[link][5]]
            for name_at, info, _visibility, index, *_rest in _SYMBOL.iter_unpack(data[offset : offset + length]):
                names.append(strings[name_at : strings.index(b"\0", name_at)].decode())
                if index and info & 0xF in _FUNCTIONS and info >> 4 in (1, 2):
                    defined.add(names[-1])
    for section in sections:
        _, kind, _, _, offset, length, *_ = section
        if kind == _RELA:
            for at, info, _addend in _RELOCATION.iter_unpack(data[offset : offset + length]):
                if (machine, info & 0xFFFFFFFF) in _JUMP_SLOTS:
                    slots.setdefault(names[info >> 32], []).append(at)
    return Library(MACHINES.get(machine, f"machine {machine}"), frozenset(defined), slots)
