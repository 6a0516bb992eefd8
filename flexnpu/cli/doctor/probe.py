# SPDX-License-Identifier: Apache-2.0
"""Run with libflexnpu.so preloaded: whom a hooked name leads to, looked up in the vendor's libraries, and called from
one that was opened with RTLD_DEEPBIND. One line of JSON on stdout.

python -m flexnpu.cli.doctor.probe LIBFLEXNPU
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from flexnpu.cli.doctor import elf

# libopapi first: it calls the others' functions, and is opened in the hard way.
_LIBRARIES = ("libopapi.so", "libascendcl.so", "libhccl.so")
_OWN = {"dlsym", "dlvsym", "dlopen", "dlmopen"}


class _Place(ctypes.Structure):
    """Dl_info of dladdr."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def main() -> None:
    """Answers what the head of this file says."""
    ours = Path(sys.argv[1])
    names = elf.read(ours).defined - _OWN
    opened, missing = {}, {}
    for library in _LIBRARIES:
        mode = os.RTLD_NOW | (os.RTLD_DEEPBIND if library == _LIBRARIES[0] else 0)
        try:
            opened[library] = ctypes.CDLL(library, mode=mode)
        except OSError as error:
            missing[library] = str(error)
    looked_up = {name: [_file_of(each) for each in _addresses(name, opened.values())] for name in names}
    print(
        json.dumps(
            {
                "missing": missing,
                "absent": sum(not files for files in looked_up.values()),
                "lookups": _told(looked_up, ours),
                "deepbind": _told(_slots(_LIBRARIES[0], names), ours),
            }
        )
    )


def _told(found: dict[str, list[str]], ours: Path) -> dict[str, object]:
    """hooked: how many names lead to us alone; past: whom each of the others leads to."""
    past = {name: file for name, files in found.items() for file in files if not _is_same(file, ours)}
    return {"hooked": sum(bool(files) for files in found.values()) - len(past), "past": past}


def _addresses(name: str, libraries: Collection[ctypes.CDLL]) -> Iterator[int]:
    for library in libraries:
        with contextlib.suppress(AttributeError):
            yield ctypes.cast(library[name], ctypes.c_void_p).value or 0


def _slots(library: str, names: Collection[str]) -> dict[str, list[str]]:
    """Whom the calls of a loaded library to these names lead to."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        span, _, offset, _, _, *path = line.split(maxsplit=5)
        if path and Path(path[0]).name == library and int(offset, 16) == 0:
            base = int(span.partition("-")[0], 16)
            slots = elf.read(Path(path[0])).slots
            return {
                name: [_file_of(ctypes.c_uint64.from_address(base + at).value) for at in slots[name]]
                for name in names
                if name in slots
            }
    return {}


def _file_of(address: int) -> str:
    place = _Place()
    ask = ctypes.CDLL(None).dladdr
    ask.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Place)]
    return (place.file or b"?").decode() if ask(address, ctypes.byref(place)) else "?"


def _is_same(file: str, ours: Path) -> bool:
    return os.path.realpath(file) == os.path.realpath(ours)


if __name__ == "__main__":
    main()
