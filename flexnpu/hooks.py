# SPDX-License-Identifier: Apache-2.0
"""Every function that libflexnpu.so intercepts in one page, made from native/abi/functions.def and aclnn.def.

python -m flexnpu.hooks > docs/hooks.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

TABLES = Path(__file__).parents[1] / "native" / "abi"

# By family of functions.def: title, and what happens to its functions.
_FAMILIES = {
    "DEVICE": ("which device", "the device is translated between the vNPU's numbers and the node's"),
    "CORES": ("how many cores", "answered with the quota"),
    "MEMORY": (
        "device memory",
        "an allocation is charged to the vNPU's ledger before the device is asked, and refunded when it is freed; "
        "how much there is, is answered with the limit; devices are translated",
    ),
    "KERNEL": ("kernel launches", "passes the gate, counted as `kernel`"),
    "COPY": ("copies", "passes the gate, counted as `copy`"),
    "BATCH": ("batches of copies", "passes the gate, counted as `copy`; devices in the attributes are translated"),
    "SET": ("fills", "passes the gate, counted as `set`"),
    "STREAM": ("ends of streams", "the gate forgets what it followed there"),
    "HOST": ("host functions", "counted as `host`, never held"),
    "GRAPH": ("captured graphs", "capture is followed; a replay passes the gate, counted as `graph`"),
    "LEGACY": (
        "operators and models of the older interface",
        "passes the gate, counted as `legacy_op`; tiling is followed",
    ),
    "OBSERVE": ("arguments of operators", "lengths are noted for the phase detector, and passed on"),
    "CACHE": ("torch_npu's executor cache", "the core counts become part of the key; executors are followed"),
    "COMM": ("collectives", "one unit at the gate, counted as `comm`; inside, devices have their own numbers"),
    "GROUP": (
        "communicators",
        "their buffers are charged to the ledger; two ranks of one on one device are refused; inside, devices have "
        "their own numbers",
    ),
}
_LIBRARIES = {
    "runtime": "libascendcl, libacl_rt",
    "ascendcl": "libascendcl",
    "compiler": "libacl_op_compiler",
    "platform": "libplatform",
    "opapi": "libopapi",
    "hccl": "libhccl",
    "below": "libruntime",
}

_HEAD = """# Hooked functions

Made by `python -m flexnpu.hooks` from the tables in native/abi; a test holds it to them. A function is hooked under the
name given, and where *Impl* says so under that name with `Impl` behind it too, the layer that CANN 8.5 and newer have
below the public one. A call made from within a hooked call of the same kind is not counted again.

All of them are reached by whatever way a program takes: linked, looked up by `dlsym` or `dlvsym` on any handle, from a
library opened with `RTLD_DEEPBIND` or by `dlmopen`, and beside other preloaded libraries. What is not seen: calls that
the constructors of a library opened in one of those two ways make before the program's next `dl` call, and the
libraries of a namespace in the child of a fork.

A function of CANN that is not listed is left alone. Where it is looked up by name and sounds like a launch or an
allocation it is told once, as `ungoverned` in the counters and in one line with `FLEXNPU_LOG=info`; of a name that a
program was linked to, nothing can be seen.
"""


@dataclass(frozen=True, slots=True)
class Hook:
    """One row of functions.def."""

    family: str
    name: str
    library: str


def hooks() -> list[Hook]:
    """The functions with known parameters, in the table's order."""
    rows = re.findall(r"^FLEXNPU_([A-Z]+)\([^,]+, (\w+), .*, (\w+), -?\d+\)$", _text("functions.def"), re.MULTILINE)
    return [Hook(*row) for row in rows]


def forwards() -> list[tuple[str, str]]:
    """Name and kind of the launches that are passed on as they came."""
    return re.findall(r"^FLEXNPU_FORWARD\((\w+), (\w+)\)$", _text("functions.def"), re.MULTILINE)


def operators() -> list[str]:
    """The two-phase operators."""
    return re.findall(r"^FLEXNPU_ACLNN\((\w+), \d+, \d+\)$", _text("aclnn.def"), re.MULTILINE)


def page() -> str:
    """The page in Markdown."""
    return "".join([_HEAD, *_known(), *_below(), *_two_phase()])


def _text(name: str) -> str:
    return (TABLES / name).read_text(encoding="utf-8")


def _known() -> Iterator[str]:
    families = list(_FAMILIES)
    ordered = sorted(hooks(), key=lambda hook: families.index(hook.family))
    for family, rows in groupby(ordered, key=lambda hook: hook.family):
        title, meaning = _FAMILIES[family]
        yield f"\n## {title.capitalize()}\n\n{meaning[0].upper()}{meaning[1:]}.\n\n"
        yield "| function | Impl | library |\n|---|---|---|\n"
        for hook in rows:
            yield f"| {hook.name} | {'yes' if hook.library == 'runtime' else ''} | {_LIBRARIES[hook.library]} |\n"


def _below() -> Iterator[str]:
    yield "\n## Launches that go on as they came\n\nThe layer below AscendCL (rt), for direct callers of libruntime, "
    yield "and what takes structures by value. Passes the gate first.\n\n"
    yield "| function | counted as |\n|---|---|\n"
    for name, kind in forwards():
        yield f"| {name} | `{kind.lower()}` |\n"


def _two_phase() -> Iterator[str]:
    names = operators()
    yield f"\n## Two-phase operators: {len(names)}\n\nEach as `NameGetWorkspaceSize`, whose tiling is followed, "
    yield "and `Name`, whose kernels pass the gate; in libopapi.\n\n"
    yield " ".join(name.removeprefix("aclnn") for name in names) + "\n"


if __name__ == "__main__":
    print(page(), end="")
