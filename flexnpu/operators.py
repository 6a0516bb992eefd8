# SPDX-License-Identifier: Apache-2.0
"""Which operators the software NPU has, made from the symbols of its libopapi.so.

python -m flexnpu.operators > docs/operators.md

A bound operator is a strong symbol; every other that torch_npu may ask for is a weak one, which fails and names itself.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

from flexnpu import paths

_COLLECTIVE = "All(Reduce|Gather|to)|ReduceScatter|MoeDistribute|DistributeBarrier|ToFFN|FFNTo|Worker"
# The first that fits says why an operator is not there.
_REASONS = (
    (re.compile(_COLLECTIVE, re.IGNORECASE), "it computes and communicates in one: not yet"),
    (
        re.compile(r"Mx|DualLevel|BlockQuant|QuantMax|RotateQuant"),
        "fp8 and mx formats belong to later chips",
    ),
    (
        re.compile(r"Nsa|Sparse|Lightning|Floyd|DeltaRule|Mhc|CausalConv|MlaProlog"),
        "attention and mixing of single models: not yet",
    ),
    (
        re.compile(r"Iou|IoU|ROI|Roi|NonMaxSuppression|Boxes|Images|Deformable|Swin|Custom$"),
        "detection and image models of their own time: not yet",
    ),
    (
        re.compile(r"Compress|Abft|Obfuscation|Hans|SilentCheck|PrecisionCompare|Elastic"),
        "checks and codecs of the chip",
    ),
    (re.compile(r"Quant|Nz|NZ"), "fused quantised forms: not yet"),
    (re.compile(r"Apply|FusedAdam"), "steps of optimisers in one: not yet"),
)
_OTHER = "not yet"

_HEAD = """# Operators of the software NPU

Made by `python -m flexnpu.operators`; a test holds it to the library. It lists the two-phase operators (aclnn) that
torch_npu asks for by name. What is not bound fails in phase one with 561003 and a message that names it. Operators that
are run by name (aclop) are in native/softnpu/ops/compiled_table.cc.
"""


def symbols(library: Path) -> tuple[list[str], list[str]]:
    """Names of the operators that are bound, and of those that are not."""
    listing = subprocess.run(
        ["nm", "--dynamic", "--defined-only", str(library)], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"^\w+ ([TW]) (acl\w+)GetWorkspaceSize$", listing, flags=re.MULTILINE)
    return sorted(name for kind, name in found if kind == "T"), sorted(name for kind, name in found if kind == "W")


def reason(name: str) -> str:
    """Why an operator is not bound."""
    return next((why for pattern, why in _REASONS if pattern.search(name)), _OTHER)


def page() -> str:
    """The page in Markdown."""
    bound, unbound = symbols(paths.softnpu_libraries() / "libopapi.so")
    groups: dict[str, list[str]] = defaultdict(list)
    for name in unbound:
        groups[reason(name)].append(name)
    parts = [_HEAD, f"\n## Bound: {len(bound)}\n\n{_words(bound)}\n", f"\n## Not bound: {len(unbound)}\n"]
    for why, names in sorted(groups.items(), key=lambda group: (group[0] == _OTHER, group[0])):
        parts.append(f"\n**{why}** ({len(names)}): {_words(names)}\n")
    return "".join(parts)


def _words(names: list[str]) -> str:
    return " ".join(name.removeprefix("aclnn") for name in names)


if __name__ == "__main__":
    print(page(), end="")
