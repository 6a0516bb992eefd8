# SPDX-License-Identifier: Apache-2.0
"""What stands between a program and libflexnpu.so: the library's file, other preloads, RTLD_DEEPBIND."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

from flexnpu import paths
from flexnpu.cli.doctor import elf
from flexnpu.cli.doctor.finding import Finding, Host, architecture
from flexnpu.errors import BackendError

_PRELOADS = "/etc/ld.so.preload"
_A_HOOK = "aclrtMalloc"
_SHOWN = 3  # names of many


def check(host: Host) -> Iterator[Finding]:
    try:
        library = paths.interposer(host.environ)
    except BackendError as error:
        yield Finding("libflexnpu.so", "error", error.message, "pip install .")
        return
    ours = yield from _file(library)
    if ours is None:
        return
    yield from _preloads(host, library, ours)
    if sys.getdlopenflags() & os.RTLD_DEEPBIND:
        found = "this Python opens every module with RTLD_DEEPBIND (sys.setdlopenflags)"
        yield Finding(
            "RTLD_DEEPBIND", "warning", found, "grep -rl setdlopenflags $(python3 -m site --user-site) | head"
        )


def _file(library: Path) -> Generator[Finding, None, elf.Library | None]:
    """Returns what is in it, where programs can have it."""
    try:
        ours = elf.read(library)
    except (OSError, elf.NotElfError) as error:
        yield Finding(
            "libflexnpu.so", "error", f"{library} cannot be read ({error})", "pip install --force-reinstall ."
        )
        return None
    if ours.machine != architecture():
        found = f"{library} is for {ours.machine}, and this host is {architecture()}"
        yield Finding("libflexnpu.so", "error", found, "pip install --force-reinstall .")
        return None
    if _A_HOOK not in ours.defined:
        yield Finding("libflexnpu.so", "error", f"{library} has no hooks", "pip install --force-reinstall .")
        return None
    if os.statvfs(library).f_flag & os.ST_NOEXEC:
        found = f"{library} lies in a file system mounted noexec, from which nothing is preloaded"
        mend = "sudo mount -o remount,exec $(stat -c %m " + str(library) + ")"
        yield Finding("libflexnpu.so", "error", found, mend)
    elif not library.stat().st_mode & 0o004:
        found = f"{library} is not readable by other users, whose programs would run without it"
        yield Finding("libflexnpu.so", "warning", found, f"chmod a+r {library}")
    else:
        yield Finding("libflexnpu.so", "ok", f"{library}, {len(ours.defined)} functions")
    return ours


def _preloads(host: Host, library: Path, ours: elf.Library) -> Iterator[Finding]:
    """Of the shell that flexnpu run would be called from: its LD_PRELOAD goes on behind ours."""
    everywhere = (host.text(_PRELOADS) or "").split()
    if any(Path(name).name == library.name for name in everywhere):
        found = (
            f"{_PRELOADS} names libflexnpu.so for every program; torch_npu asks the variable LD_PRELOAD all the same"
        )
        yield Finding("LD_PRELOAD", "warning", found, f"sudo sed -i '/libflexnpu/d' {_PRELOADS}  # flexnpu run sets it")
    others = [name for name in host.environ.get("LD_PRELOAD", "").replace(":", " ").split() if name]
    for name in (*others, *everywhere):
        yield from _preload(host, name, library, ours)
    if not (others or everywhere):
        yield Finding("LD_PRELOAD", "ok", "nothing else is preloaded")


def _preload(host: Host, name: str, library: Path, ours: elf.Library) -> Iterator[Finding]:
    if Path(name).name == library.name:
        if name in host.environ.get("LD_PRELOAD", ""):
            found = "LD_PRELOAD has libflexnpu.so already: every program that this shell starts asks for a vNPU"
            yield Finding("LD_PRELOAD", "warning", found, "unset LD_PRELOAD")
        return
    if "/" not in name:
        yield Finding("LD_PRELOAD", "note", f"{name}, wherever the linker finds it, is preloaded too")
        return
    try:
        both = elf.read(host.path(name)).defined & ours.defined
    except OSError as error:
        found = f"{name} cannot be preloaded ({error.strerror}): every program complains"
        yield Finding("LD_PRELOAD", "warning", found, "unset LD_PRELOAD")
        return
    except elf.NotElfError:
        yield Finding("LD_PRELOAD", "warning", f"{name} is no library of this host", "unset LD_PRELOAD")
        return
    if both:
        some = ", ".join(sorted(both)[:_SHOWN])
        found = f"{name} intercepts what libflexnpu.so does, too: {len(both)} functions, such as {some}"
        yield Finding("LD_PRELOAD", "error", found, "unset LD_PRELOAD")
    else:
        yield Finding("LD_PRELOAD", "ok", f"{name} and libflexnpu.so do not meet")
