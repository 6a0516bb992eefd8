# SPDX-License-Identifier: Apache-2.0
"""Pages that are made from the code agree with it: flags, environment variables, operators, hooks."""

from __future__ import annotations

import re
from pathlib import Path

from flexnpu import hooks, operators
from flexnpu.environment import VARIABLES
from flexnpu.reference import page

ROOT = Path(__file__).parents[2]
# How a variable is read: getenv in C++ (the software NPU through helpers that take the name first), a key in Python.
READ = re.compile(r"""(?:getenv\(|number\(|choice\(|variable\(|environ\.get\(|environ\[)\s*"(FLEXNPU_[A-Z_]+)\"""")


def test_the_table_names_every_variable_that_is_read():
    sources = [*ROOT.glob("flexnpu/**/*.py"), *ROOT.glob("native/**/*.cc"), *ROOT.glob("native/**/*.h")]
    read = {name for source in sources for name in READ.findall(source.read_text())}
    assert read == {variable.name for variable in VARIABLES}


def test_the_page_has_every_flag_and_variable_as_the_code_does():
    committed = (ROOT / "docs/reference.md").read_text()
    assert committed == page(), "run: python -m flexnpu.reference > docs/reference.md"


def test_the_page_of_operators_agrees_with_the_library():
    committed = (ROOT / "docs/operators.md").read_text()
    assert committed == operators.page(), "run: python -m flexnpu.operators > docs/operators.md"


def test_the_page_of_hooks_agrees_with_the_tables():
    committed = (ROOT / "docs/hooks.md").read_text()
    assert committed == hooks.page(), "run: python -m flexnpu.hooks > docs/hooks.md"


def test_the_page_of_hooks_has_every_row_of_the_tables():
    rows = [
        line
        for table in ("functions.def", "aclnn.def")
        for line in (hooks.TABLES / table).read_text().splitlines()
        if line.startswith("FLEXNPU_")
    ]
    assert len(rows) == len(hooks.hooks()) + len(hooks.forwards()) + len(hooks.operators())
