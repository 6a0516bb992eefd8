# SPDX-License-Identifier: Apache-2.0
"""phase.def, the operators that tell the phase, against aclnn.def, the operators that there are."""

from __future__ import annotations

import re
from pathlib import Path

NATIVE = Path(__file__).parents[2] / "native"
RESULTS = 3  # at least the result, the place for the workspace's size and the one for the executor come last


def rows(path: Path) -> list[tuple[str, list[str]]]:
    found = re.findall(r"^FLEXNPU_(\w+)\((aclnn.*)\)$", path.read_text(), re.MULTILINE)
    return [(kind, [each.strip() for each in arguments.split(",")]) for kind, arguments in found]


OPERATORS = {arguments[0]: int(arguments[1]) for _, arguments in rows(NATIVE / "abi" / "aclnn.def")}
TABLE = rows(NATIVE / "interposer" / "phase.def")


def test_every_operator_of_the_table_is_intercepted() -> None:
    names = [arguments[0] for _, arguments in TABLE]
    assert len(names) == len(set(names)) > 30
    assert set(names) <= set(OPERATORS)


def test_all_places_are_arguments_of_the_operator() -> None:
    for kind, (name, *places) in TABLE:
        words = OPERATORS[name]
        taken = [int(each) for at, each in enumerate(places) if not (kind == "ATTENTION" and at == 1)]
        given = [each for each in taken if each >= 0]
        assert len(given) == len(set(given)), name
        if words > 0:  # 0: the signature is not known to the probe
            assert all(each <= words - RESULTS for each in given), name


def test_every_inference_attention_of_the_operators_is_in_the_table() -> None:
    pattern = r"aclnn(FusedInferAttentionScore|PromptFlashAttention|IncreFlashAttention)(V\d)?"
    assert {name for name in OPERATORS if re.fullmatch(pattern, name)} <= {arguments[0] for _, arguments in TABLE}
