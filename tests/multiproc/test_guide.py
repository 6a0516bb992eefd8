# SPDX-License-Identifier: Apache-2.0
"""docs/api.md: the page is that of the code, shows every operation, and its lines do on a real daemon what they say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from local_node import Node

from flexnpu.api.describe import describe
from flexnpu.api.guide import EXAMPLES, page

ROOT = Path(__file__).parents[2]
TIME_IS_UP = 28  # curl's, of a stream that was read for as long as it was told to


def test_the_committed_page_is_that_of_the_code():
    assert (ROOT / "docs/api.md").read_text() == page(), "run: python -m flexnpu.api.guide > docs/api.md"


def test_the_page_has_a_line_for_every_operation():
    described = [each["operationId"] for path in describe()["paths"].values() for each in path.values()]
    assert sorted(described) == sorted(EXAMPLES)


def test_the_lines_of_the_page_do_what_they_say(node: Node):
    lines = re.findall(r"^    (api.*)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    define, *examples = lines
    assert examples == [*EXAMPLES.values()]
    for line in examples:
        done = subprocess.run(
            ["bash", "-c", f"{define}\n{line}"], env=node.env, capture_output=True, text=True, timeout=60, check=False
        )
        expected = (0, TIME_IS_UP) if "--max-time" in line else (0,)
        assert done.returncode in expected, f"{line}\n{done.stdout}{done.stderr}"
        assert done.stdout or "DELETE" in line
